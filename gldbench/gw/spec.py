"""The YAML of a bench. A spec is immutable and refuses unknown keys.

This module does not import torch by itself, so that errors in a YAML file are reported at once.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import Field

from gldfusion.errors import InputError, did_you_mean
from gldfusion.recipe import Model, read_yaml, validate

PRESETS = Path(__file__).parent / "presets"
MIN_REPEATS = 7
"""equals `gldbench.timing.MIN_REPEATS`, which cannot be imported here without torch; a test compares the two"""


class CaseSpec(Model):
    """Families, their sizes, and the solvers to run on them."""

    families: tuple[str, ...]
    sizes: tuple[int, ...]
    """numbers of nodes; for families of real logits, numbers of responses that are joined to one graph"""
    solvers: tuple[str, ...] = ()
    """names of SOLVERS; empty: all of them"""
    instances: int = Field(1, gt=0)
    """problems per family and size, each with a seed of its own"""
    budget: float | None = Field(None, gt=0)
    """as in `BenchSpec`; None: the budget of the bench"""
    once: dict[str, float] = Field(default_factory=dict)
    """solver -> seconds that one run of it may take here. It is started if it is expected to need no more, although its
    repeats may exceed the budget. It is then run once: its value counts, and it has no timing."""


class BenchSpec(Model):
    """One bench."""

    name: str
    seed: int = 0
    repeats: int = Field(MIN_REPEATS, ge=MIN_REPEATS)
    """samples of each timing; the samples of all solvers are interleaved"""
    budget: float = Field(gt=0)
    """seconds for the repeats of one solver on one problem. A solver that is expected to exceed it is not started."""
    cases: tuple[CaseSpec, ...]


def load_bench(name: str) -> BenchSpec:
    """Reads a bench.

    Args:
        name: of a preset, or the path of a YAML file.

    Raises:
        InputError: there is no such preset or file, or it holds an unknown key, family or solver, or a wrong value.
    """
    path = Path(name)
    if not path.suffix:
        presets = {p.stem: p for p in PRESETS.glob("*.yaml")}
        if name not in presets:
            raise InputError(
                f'no preset named "{name}"{did_you_mean(name, presets)}\n'
                f"presets: {', '.join(sorted(presets))}\nor give the path of a file that ends in .yaml"
            )
        path = presets[name]
    spec = validate(BenchSpec, read_yaml(path, "bench"), str(path))
    _refuse_repetitions(spec, path)
    _check_names(spec, path)
    return spec


def _check_names(spec: BenchSpec, path: Path) -> None:
    """Checks that the families and solvers exist. Their names come with torch, so this is the last check."""
    from gldbench.gw.families import FAMILIES, REAL
    from gldbench.gw.solvers import SOLVERS

    for case in spec.cases:
        for kind, given, known in (
            ("family", case.families, [*FAMILIES, *REAL]),
            ("solver", (*case.solvers, *case.once), list(SOLVERS)),
        ):
            for word in given:
                if word not in known:
                    raise InputError(
                        f'{path}: no {kind} named "{word}"{did_you_mean(word, known)}\nknown: {", ".join(known)}'
                    )


def _refuse_repetitions(spec: BenchSpec, path: Path) -> None:
    """Checks that each family and size is in one case only, because rows are stored once per problem."""
    seen = Counter((family, size) for case in spec.cases for family in case.families for size in case.sizes)
    for (family, size), count in seen.items():
        if count > 1:
            raise InputError(
                f"{path}: {family} at size {size} is in {count} cases\nlist all its solvers in one of them"
            )
