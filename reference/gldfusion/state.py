"""Saving and loading of training states.

A state on disk is complete or absent. It is loaded only for the recipe, pivot, sources and data that it was saved for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from gldfusion.errors import InputError
from gldfusion.files import remove, whole_or_absent, write_json

Log = list[dict[str, Any]]


def _beside(folder: Path) -> tuple[Path, Path]:
    """Two folders beside `folder`: the state that is being written, and the older one that it replaces."""
    return folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".old")


def save_state(accelerator: Accelerator, folder: Path, identity: Mapping[str, str], log: Log) -> None:
    """Writes a new state beside the old one, then replaces the old one.

    Args:
        folder: where the state is to be.
        identity: hashes of the recipe, pivot, sources and data, by name.
        log: one entry for each step so far.

    Raises:
        OSError: the disk is full. The old state is kept.
    """
    temporary, old = _beside(folder)
    if accelerator.is_main_process:
        remove(temporary)
    accelerator.wait_for_everyone()
    with whole_or_absent(temporary, folder):
        # torch's own format, because safetensors would drop tied weights and print a warning
        accelerator.save_state(str(temporary), safe_serialization=False)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            write_json(temporary / "log.json", {"identity": identity, "log": log})
            remove(old)
            if folder.exists():
                os.rename(folder, old)
            os.rename(temporary, folder)
            remove(old)
    accelerator.wait_for_everyone()


def load_state(accelerator: Accelerator, folder: Path, identity: Mapping[str, str]) -> tuple[Log, int]:
    """Loads the saved state, if there is one, into the model and optimizer of `accelerator`.

    Returns:
        The log so far and the number of the next step, from 0. Without a saved state: an empty log and 0.

    Raises:
        InputError: the state belongs to another recipe, pivot, data or sources, or it cannot be read.
    """
    _, old = _beside(folder)
    if not folder.exists() and old.exists():  # the process was killed between the two renames of save_state
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            os.rename(old, folder)
        accelerator.wait_for_everyone()
    if not folder.exists():
        return [], 0
    try:
        saved = json.loads((folder / "log.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"the saved state {folder} cannot be read ({error})\ndelete it to start again from step 1"
        ) from None
    different = [name for name, value in identity.items() if saved["identity"].get(name) != value]
    if different:
        raise InputError(
            f"the saved state {folder} belongs to another {', '.join(different)}\n"
            "delete it to start again from step 1, or choose another output"
        )
    accelerator.load_state(str(folder))
    return saved["log"], saved["log"][-1]["step"]


def remove_state(folder: Path) -> None:
    """Deletes a state, and what an interrupted save left beside it."""
    for path in (folder, *_beside(folder)):
        remove(path)
