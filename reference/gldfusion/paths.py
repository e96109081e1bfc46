"""Checks that the files and folders of a recipe exist and may be read. They import neither torch nor transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError
from gldfusion.files import require_file
from gldfusion.reading import read_object, shown_path

EXAMPLE_LINE = '{"prompt": ..., "response": ...}'
"""one line of a data file, as error messages show it"""
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
"""a checkpoint folder holds at least one of these files"""
PICKLES = ("pytorch_model*.bin", "adapter_model*.bin", "*.pt", "*.pth", "*.ckpt")
"""weights in formats that can hold code. Files with these names are never read"""
LONGEST_NAME = 255 - len("..12345678.part")
"""bytes of the longest name of an output: file systems allow 255, and temporary files beside it have longer names"""
SAVE_AGAIN = "expected the files that `save_pretrained` writes: config.json, model.safetensors, tokenizer files"


def resolved(path: Path) -> Path:
    """The absolute path without symbolic links. A link that leads to itself is kept, so reading it fails in words."""
    return Path(os.path.realpath(path))


def require_data(path: Path) -> Path:
    """Checks that a data file exists, and returns its path.

    Raises:
        InputError: it does not exist.
    """
    return require_file(path, "training data", f"expected JSON lines {EXAMPLE_LINE}")


def require_checkpoint(path: Path, trust_remote_code: bool = False, weights: bool = True) -> Path:
    """Checks that a folder holds a configuration and weights that can be loaded safely, and returns its path.

    Args:
        path: the folder.
        trust_remote_code: whether code that the checkpoint brings may run.
        weights: whether the weights must be there too. A source that runs elsewhere needs none here.

    Raises:
        InputError: it is not a folder, a file is missing, its weights are pickled or split over files that do not
            exist, it is an adapter, or it brings code that may not run.
    """
    if not path.is_dir():
        raise InputError(
            f"not a checkpoint: {path} is not a folder\n"
            "expected a Hugging Face checkpoint folder with config.json and weights"
        )
    if not (path / "config.json").exists():
        raise InputError(f"not a checkpoint: {path} has no config.json\n{SAVE_AGAIN}")
    if weights:
        _require_weights(path)
    if (path / "adapter_config.json").exists():
        raise InputError(
            f"{path} holds an adapter (adapter_config.json), which would change the model unseen\n"
            "merge it into the weights with `merge_and_unload` of peft, and save the model again"
        )
    if not trust_remote_code:
        _require_no_code(path)
    return path


def _require_weights(path: Path) -> None:
    """Checks that the weights are safetensors files in the folder.

    Raises:
        InputError: they are not.
    """
    if (path / WEIGHTS).exists():
        return
    if not (path / INDEX).exists():
        if pickled := sorted(file.name for pattern in PICKLES for file in path.glob(pattern)):
            raise InputError(
                f"{path} holds pickled weights ({pickled[0]}): reading them can run code, so they are refused\n"
                "in a place where that may happen, load the model with transformers and save it again:\n"
                "`model.save_pretrained(folder, safe_serialization=True)` writes safetensors"
            )
        raise InputError(f"not a checkpoint: {path} has no {WEIGHTS}\n{SAVE_AGAIN}")
    named = read_object(path / INDEX, "index of weights", SAVE_AGAIN).get("weight_map")
    files = sorted(set(map(str, named.values()))) if isinstance(named, dict) else []
    wrong = [name for name in files if "/" in name or not name.endswith(".safetensors") or not (path / name).is_file()]
    if wrong or not files:
        found = f"it names {wrong[0]!r:.80}" if wrong else "it names none"
        raise InputError(f"{path / INDEX} must name safetensors files of its folder: {found}\n{SAVE_AGAIN}")


def _require_no_code(path: Path) -> None:
    """Checks that a checkpoint asks for no code besides that of transformers.

    Raises:
        InputError: it does. Nothing of the code has run.
    """
    for name in ("config.json", "tokenizer_config.json"):
        if not (path / name).exists():
            continue
        settings = read_object(path / name, "configuration", SAVE_AGAIN)
        for key, value in _settings(settings):
            if key == "auto_map" and value:
                raise InputError(
                    f"{path} brings its own code (auto_map in {name}), which may do anything on this machine\n"
                    "read the code; if you trust it, give --trust-remote-code. If transformers knows this kind of "
                    "model,\nyou can instead remove auto_map from the file"
                )
            if key.removeprefix("_") == "attn_implementation" and "/" in str(value):
                raise InputError(
                    f"{path} asks for code from the hub ({key} {str(value)!r:.60} in {name})\n"
                    "read the code; if you trust it, give --trust-remote-code, else remove this key from the file"
                )


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys and values of a configuration, including those of the configurations in it."""
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if isinstance(value, Mapping):
        yield from value.items()
    for part in inner:
        yield from _settings(part)


def require_output(path: Path) -> Path:
    """Checks that the name of an output leaves room for the temporary names beside it, and returns its path.

    Without this check, a fusion would fail when it writes its result.

    Raises:
        InputError: the name is too long.
    """
    size = len(os.fsencode(path.name))
    if size > LONGEST_NAME:
        raise InputError(
            f"the name of the output is too long: {shown_path(path)}\n"
            f"expected at most {LONGEST_NAME} bytes after the last slash, got {size}; choose a shorter name"
        )
    return path


def hidden(output: Path, kind: str) -> Path:
    """The path beside an output that holds its "lock" or the "state" of its training."""
    return output.with_name(f".{output.name}.{kind}")


def require_cache(path: Path) -> Path:
    """Checks that a folder is a source cache, and returns its path.

    Raises:
        InputError: it is not.
    """
    if not (path / "meta.json").exists():
        raise InputError(f"no cache at {path}\nbuild it with `gldbench cache build RECIPE`")
    return path
