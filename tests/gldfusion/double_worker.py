"""Fuses recipes in float64, as one process or as one of several; started by test_processes.py.

Arguments: a folder with recipes as `<name>.json`, which are fused into `<name>` beside them; and the step after whose
saved state the process dies as by `kill -9`, or 0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import gldfusion.fuse
import gldfusion.pivot
import gldfusion.trained
from gldfusion.recipe import Recipe

KILLED = 9


def fuse_all(folder: Path, last: int = 0) -> None:
    """Fuses every recipe in the folder; dies when the state of step `last` is saved."""
    save_state = gldfusion.fuse.save_state

    def save_and_die(*arguments: Any) -> None:
        save_state(*arguments)
        if arguments[3][-1]["step"] == last:
            os._exit(KILLED)

    gldfusion.fuse.save_state = save_and_die
    load_model = gldfusion.pivot.load_model
    gldfusion.pivot.load_model = lambda path, dtype, *settings: load_model(path, "float64", *settings)
    gldfusion.trained.stored_dtype = lambda path: "float64"
    for path in sorted(folder.glob("*.json")):
        gldfusion.fuse.fuse(Recipe.model_validate_json(path.read_text()), path.with_suffix(""))


if __name__ == "__main__":
    fuse_all(Path(sys.argv[1]), int(sys.argv[2]))
