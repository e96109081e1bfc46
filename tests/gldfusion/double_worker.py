"""Fuses recipes in float64, as one process or as one of several; started by test_processes.py.

Arguments: a folder with recipes as `<name>.json`, which are fused into `<name>` beside them; and the step after whose
saved state the process dies as by `kill -9`, or 0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gldfusion.fuse
import gldfusion.pivot
import gldfusion.trained
from gldfusion.recipe import Recipe
from gldfusion.state import Log, StateWriter

KILLED = 9


def fuse_all(folder: Path, last: int = 0) -> None:
    """Fuses every recipe in the folder; dies when the state of step `last` is saved."""
    save = StateWriter.save

    def save_and_die(self: StateWriter, log: Log) -> None:
        save(self, log)
        if log[-1]["step"] == last:
            self.wait()
            os._exit(KILLED)

    StateWriter.save = save_and_die
    load_model = gldfusion.pivot.load_model
    gldfusion.pivot.load_model = lambda path, dtype, *settings: load_model(path, "float64", *settings)
    gldfusion.trained.stored_dtype = lambda path: "float64"
    for path in sorted(folder.glob("*.json")):
        gldfusion.fuse.fuse(Recipe.model_validate_json(path.read_text()), path.with_suffix(""))


if __name__ == "__main__":
    fuse_all(Path(sys.argv[1]), int(sys.argv[2]))
