"""Checks that the files and folders of a recipe exist. These checks import neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path

from gldfusion.errors import InputError
from gldfusion.files import require_file

EXAMPLE_LINE = '{"prompt": ..., "response": ...}'
"""one line of a data file, as error messages show it"""
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""a checkpoint folder holds at least one of these"""


def require_data(path: Path) -> Path:
    """Checks that a data file exists, and returns its path.

    Raises:
        InputError: it does not exist.
    """
    return require_file(path, "training data", f"expected JSON lines {EXAMPLE_LINE}")


def require_checkpoint(path: Path) -> Path:
    """Checks that a folder holds a configuration and weights, and returns its path.

    Raises:
        InputError: it does not, or it is not a folder.
    """
    if not path.is_dir():
        raise InputError(
            f"not a checkpoint: {path} is not a folder\n"
            "expected a Hugging Face checkpoint folder with config.json and weights"
        )
    present = {p.name for p in path.iterdir()}
    if "config.json" not in present or not present & set(WEIGHT_FILES):
        missing = "config.json" if "config.json" not in present else "model.safetensors"
        raise InputError(
            f"not a checkpoint: {path} has no {missing}\n"
            "expected the files that `save_pretrained` writes: config.json, model.safetensors, tokenizer files"
        )
    return path


def require_cache(path: Path) -> Path:
    """Checks that a folder is a source cache, and returns its path.

    Raises:
        InputError: it is not.
    """
    if not (path / "meta.json").exists():
        raise InputError(f"no cache at {path}\nbuild it with `gldbench cache`")
    return path
