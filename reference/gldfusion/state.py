"""Saved training states: whole or absent, and only ever those of the same recipe, pivot, sources and data."""

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
    """The state that is being written, and the one that it replaces."""
    return folder.with_name(folder.name + ".part"), folder.with_name(folder.name + ".old")


def save_state(accelerator: Accelerator, folder: Path, identity: Mapping[str, str], log: Log) -> None:
    """Writes the state beside the old one, then replaces it.

    Raises:
        OSError: the disk is full; the old state is kept.
    """
    temporary, old = _beside(folder)
    if accelerator.is_main_process:
        remove(temporary)
    accelerator.wait_for_everyone()
    with whole_or_absent(temporary, folder):
        # torch's format: safetensors would drop tied weights with a warning, and here there is nobody to read it
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
    """The log so far and the next step (from 0); an empty log and 0 where nothing was saved.

    Raises:
        InputError: the state belongs to something else, or cannot be read.
    """
    _, old = _beside(folder)
    if not folder.exists() and old.exists():  # killed between the two renames of save_state
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            os.rename(old, folder)
        accelerator.wait_for_everyone()
    if not folder.exists():
        return [], 0
    try:
        saved = json.loads((folder / "log.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"the saved state {folder} cannot be read ({error})\ndelete it to begin anew") from None
    different = [name for name, value in identity.items() if saved["identity"].get(name) != value]
    if different:
        raise InputError(
            f"the saved state {folder} belongs to another {', '.join(different)}\n"
            "delete it to begin anew, or choose another output"
        )
    accelerator.load_state(str(folder))
    return saved["log"], saved["log"][-1]["step"]


def remove_state(folder: Path) -> None:
    """Deletes a state and everything that an interrupted save left beside it."""
    for path in (folder, *_beside(folder)):
        remove(path)
