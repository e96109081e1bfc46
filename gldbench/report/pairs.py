"""What the spec of a run says about its methods: who is compared with whom, and who is a control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gldbench.report import names
from gldbench.report.comparing import Pair
from gldbench.report.gate import Role
from gldfusion.errors import InputError


def declared_families(
    spec: Mapping[str, Any], methods: Iterable[str], families: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The own families of each scored source, from spec["world"]["sources"][method]["families"]. None: all `families`.

    Raises:
        InputError: the spec lacks a source.
    """
    sources = spec["world"]["sources"]
    unknown = [method for method in methods if names.is_source(method) and method not in sources]
    if unknown:
        raise InputError(f"found rows of {', '.join(unknown)}, but the spec has only the sources {', '.join(sources)}")
    return {
        method: tuple(names.family_of(family) for family in sources[method].get("families") or families)
        for method in methods
        if names.is_source(method)
    }


def roles(spec: Mapping[str, Any]) -> dict[Role, str]:
    """The controls of the gate: those that the spec names, or those of older specs, which name none."""
    older = {"same_vocabulary": names.POSITIVE, "shuffled": names.NEGATIVE}
    return {role: method for role, method in spec.get("gates", older).items() if method is not None}


def controls(methods: Iterable[str], spec: Mapping[str, Any]) -> list[Pair]:
    """Each method with each of its controls: methods named after it, and methods that are like it."""
    pairs = []
    for name in methods:
        base = spec["methods"].get(name, {}).get("like") or names.controlled(name)
        if base:
            pairs.append((base, name))
    return pairs


def added(methods: Iterable[str], spec: Mapping[str, Any]) -> list[Pair]:
    """Each method that adds terms to another one, with that one; so does a method that is like such a method."""
    found = [(name, _added_to(name, spec)) for name in methods]
    return [(name, base) for name, base in found if base]


def _added_to(name: str | None, spec: Mapping[str, Any]) -> str | None:
    method = spec["methods"].get(name, {})
    return method.get("adds_to") or (_added_to(method["like"], spec) if method.get("like") else None)


def fixed_weights(methods: Iterable[str], spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The methods that have a weight which the spec gives, although it tunes those of other methods."""
    return tuple(name for name in methods if _fixed(name, spec))


def _fixed(name: str, spec: Mapping[str, Any]) -> bool:
    method = spec["methods"].get(name, {})
    base = method.get("adds_to") or method.get("like")
    own = not method.get("tuned", True) or method.get("times", 1) != 1
    return own or (base is not None and _fixed(base, spec))


def equal_flops(methods: Sequence[str], spec: Mapping[str, Any]) -> list[Pair]:
    """Each method that is trained for the usual steps, with sft that is trained for more."""
    more = {name for name in methods if spec["methods"].get(name, {}).get("steps_factor", 1) != 1}
    longer = [name for name in more if spec["methods"][name].get("like") == names.BASELINE]
    return [(name, longer[0]) for name in methods if longer and name not in (*more, names.BASELINE)]
