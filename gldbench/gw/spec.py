"""What a bench runs: its YAML, immutable and closed to unknown keys."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pydantic import Field

from gldbench.gw.families import FAMILIES, REAL
from gldbench.gw.solvers import SOLVERS
from gldbench.timing import MIN_REPEATS
from gldfusion.errors import InputError, did_you_mean
from gldfusion.recipe import Model, read_yaml, validate

PRESETS = Path(__file__).parent / "presets"


class CaseSpec(Model):
    """Families at sizes, by solvers."""

    families: tuple[str, ...]
    sizes: tuple[int, ...]
    """nodes; on real logits, responses joined to one graph"""
    solvers: tuple[str, ...] = ()
    """empty: all"""
    instances: int = Field(1, gt=0)
    """problems per family and size, each from a seed of its own"""
    budget: float | None = Field(None, gt=0)
    """absent: that of the bench"""


class BenchSpec(Model):
    """One bench."""

    name: str
    seed: int = 0
    repeats: int = Field(MIN_REPEATS, ge=MIN_REPEATS)
    """interleaved samples of each timing"""
    budget: float = Field(gt=0)
    """seconds that the repeats of one solver may take on one problem; a solver expected to pass it is not started"""
    cases: tuple[CaseSpec, ...]


def load_bench(name: str) -> BenchSpec:
    """A bench by the name of a preset or the path of a YAML file.

    Raises:
        InputError: no such preset or file, an unknown key, family or solver.
    """
    path = Path(name)
    if not path.suffix:
        presets = {p.stem: p for p in PRESETS.glob("*.yaml")}
        if name not in presets:
            raise InputError(
                f'no preset named "{name}"{did_you_mean(name, presets)}\n'
                f"presets: {', '.join(sorted(presets))}; or give the path of a YAML file"
            )
        path = presets[name]
    spec = validate(BenchSpec, read_yaml(path, "bench"), str(path))
    for case in spec.cases:
        for kind, given, known in (
            ("family", case.families, [*FAMILIES, *REAL]),
            ("solver", case.solvers, list(SOLVERS)),
        ):
            for word in given:
                if word not in known:
                    raise InputError(
                        f'{path}: no {kind} named "{word}"{did_you_mean(word, known)}\nknown: {", ".join(known)}'
                    )
    _refuse_repetitions(spec, path)
    return spec


def _refuse_repetitions(spec: BenchSpec, path: Path) -> None:
    """A family at a size belongs to one case: rows are stored once per problem."""
    seen = Counter((family, size) for case in spec.cases for family in case.families for size in case.sizes)
    for (family, size), count in seen.items():
        if count > 1:
            raise InputError(
                f"{path}: {family} at size {size} stands in {count} cases\nlist all its solvers in one of them"
            )
