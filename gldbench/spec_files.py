"""Finds the YAML file of a spec and reads it, with what it takes over from another spec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError, did_you_mean
from gldfusion.paths import resolved
from gldfusion.reading import one_line, shown
from gldfusion.yaml_reader import read_yaml

LONGEST_NAME = 4096
"""characters of a name or a path after `extends:`"""


def find_spec(name: str, shipped: Path) -> Path:
    """The file of a spec.

    Args:
        name: path of a YAML file, or name of a shipped spec.
        shipped: folder of the shipped specs.

    Raises:
        InputError: no shipped spec has this name.
    """
    if Path(name).suffix:
        return Path(name)
    known = {path.stem: path for path in shipped.glob("*.yaml")}
    if name not in known:
        raise InputError(
            f'no spec is called "{one_line(name, 80)}"{did_you_mean(name, known)}\n'
            f"known: {', '.join(sorted(known))}; a path must end in .yaml"
        )
    return known[name]


def read_content(path: Path, shipped: Path, before: tuple[Path, ...] = ()) -> Any:
    """Reads the YAML of a spec.

    With `extends: NAME` it takes the top-level keys that it lacks from that spec. With `replace: {KEY.KEY: VALUE}` it
    changes single values of what it took, or adds them.

    Args:
        path: the file.
        shipped: folder of the shipped specs.
        before: the files that extend this one, which it must not extend itself.

    Raises:
        InputError: a file is missing or is not YAML, specs extend each other, or a replaced key does not exist.
    """
    content = read_yaml(path, "spec")
    if not isinstance(content, dict) or "extends" not in content:
        return content
    name, replaced = content.pop("extends"), content.pop("replace", {})
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise InputError(f"{path}: extends: expected the name of a spec, got {shown(name)}\ngive a name or a path")
    base, chain = find_spec(name, shipped), (*before, path)
    if resolved(base) in map(resolved, chain):
        raise InputError(f"{path} extends {base.name}, which extends it again\nname another spec after `extends:`")
    inherited = read_content(base, shipped, chain)
    if not isinstance(inherited, dict):
        raise InputError(f"{path} extends {base}, which holds {shown(inherited)}\nexpected a spec: keys with values")
    if not isinstance(replaced, dict) or not all(isinstance(key, str) for key in replaced):
        raise InputError(f"{path}: replace: expected KEY.KEY: VALUE, got {shown(replaced)}\ngive keys with values")
    merged = inherited | content
    for key, value in replaced.items():
        merged = _replaced(merged, key.split("."), value, f"{path}: replace: {one_line(key, 120)}")
    return merged


def _replaced(content: Any, keys: list[str], value: Any, where: str) -> Any:
    """A copy of nested mappings with another value at one place. The mapping that holds the place must exist."""
    if not keys:
        return value
    if not isinstance(content, Mapping) or (len(keys) > 1 and keys[0] not in content):
        raise InputError(f'{where}: the spec that it extends has no key "{one_line(keys[0], 80)}" there\nmend the key')
    return {**content, keys[0]: _replaced(content.get(keys[0]), keys[1:], value, where)}
