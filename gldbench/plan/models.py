"""Finds the configuration of a model: in its folder, or among the shipped ones. Says where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError, did_you_mean
from gldfusion.paths import resolved
from gldfusion.reading import one_line
from gldfusion.yaml_reader import read_yaml

CONFIGURATIONS = Path(__file__).parent / "configurations.yaml"
"""the shipped configurations, by name on the hub"""


@dataclass(frozen=True)
class Found:
    """A configuration and where it comes from."""

    config: Any
    """a configuration of transformers"""
    origin: str
    """a sentence for the reader of the plan"""


@cache
def shipped() -> dict[str, dict[str, Any]]:
    """The shipped configurations: name on the hub -> `folders`, `config`, `url`, `read_in`."""
    return read_yaml(CONFIGURATIONS, "configurations")


def shipped_name(name: str) -> str | None:
    """The name on the hub of the shipped configuration with this name or folder name; None if there is none."""
    for hub, entry in shipped().items():
        if name.lower() in (hub.lower(), *map(str.lower, entry["folders"])):
            return hub
    return None


def configuration(checkpoint: Path, instead: str | None, trust_remote_code: bool) -> Found:
    """The configuration of a checkpoint of a recipe.

    Args:
        checkpoint: folder of the checkpoint, which may be missing.
        instead: name of a shipped configuration, or a folder with a config.json, that the user chose instead.
        trust_remote_code: run code that the checkpoint brings.

    Raises:
        InputError: the folder has no configuration and its name is none that is shipped.
    """
    if instead is not None:
        folder, asked = Path(instead), True
        name = shipped_name(instead)
    else:
        folder, asked = checkpoint, False
        name = None if (checkpoint / "config.json").is_file() else shipped_name(checkpoint.name)
    if name is not None:
        return _from_shipped(name, asked, checkpoint)
    if not (folder / "config.json").is_file():
        missing = one_line(str(resolved(folder)), 200)
        raise InputError(
            f"{missing} has no config.json, and no configuration is shipped for {one_line(folder.name, 80)}"
            f"{did_you_mean(folder.name, [f for e in shipped().values() for f in e['folders']])}\n"
            f"put the model there, or name a configuration with --model NAME=CONFIGURATION\n"
            f"shipped: {', '.join(shipped())}"
        )
    return _from_folder(folder, asked, trust_remote_code)


def _from_shipped(name: str, asked: bool, checkpoint: Path) -> Found:
    from transformers import AutoConfig

    entry = shipped()[name]
    settings = dict(entry["config"])
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    chosen = (
        "chosen with --model" if asked else f"chosen by the folder name {checkpoint.name}, which does not exist here"
    )
    return Found(config, f"{name}, {chosen}; {entry['url']}, read in: {entry['read_in']}")


def _from_folder(folder: Path, asked: bool, trust_remote_code: bool) -> Found:
    from transformers import AutoConfig

    from gldfusion.reading import plain_line

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise InputError(
            f"{folder / 'config.json'} cannot be read: {plain_line(error)}\n"
            "expected the configuration of a causal language model; repair the file, or copy the model again"
        ) from error
    return Found(config, f"config.json of {folder.name}{', chosen with --model' if asked else ''}")
