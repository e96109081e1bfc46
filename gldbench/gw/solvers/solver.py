"""What a solver is: one function from a problem to an answer, and what the bench has to know about it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gldbench.gw.couplings import Coupling
from gldbench.gw.problem import Problem
from gldfusion.errors import InputError

Kind = Literal["lower", "upper", "exact", "paper", "evaluation"]
EXTRAS = {"ot": "gw", "ott": "ott"}
"""package -> the extra of gldbench that installs it"""


@dataclass(frozen=True)
class Answer:
    """What a solver returns: a number, or a coupling that the harness checks and prices itself."""

    value: float | None = None
    coupling: Coupling | None = None
    detail: dict[str, float] = field(default_factory=dict)
    """what else is worth a row, such as "nodes" """


@dataclass(frozen=True)
class Solver:
    """An entry of SOLVERS.

    kind: "lower" and "upper" bounds of GW_2^2; "exact" GW_2^2 itself; "paper" the paper's own number, a lower bound of
    GW_1; "evaluation" the objective at the sorted coupling, computed in some way.
    """

    run: Callable[[Problem], Answer]
    kind: Kind
    citation: str
    max_nodes: int
    """the bench asks for nothing larger"""
    growth: float
    """expected exponent of time in n, to skip what would run past the budget before it starts"""
    package: str = ""
    """the import it needs besides gldbench's own requirements"""
    gpu: bool = False
    """it runs where the problem's tensors are"""


def missing(solver: Solver) -> str:
    """Why the solver cannot run in this installation, or ""."""
    if not solver.package or importlib.util.find_spec(solver.package) is not None:
        return ""
    return f"{solver.package} is not installed: pip install 'gldbench[{EXTRAS[solver.package]}]'"


def require(solver: Solver, name: str) -> None:
    """Raises InputError where the solver's package is missing."""
    if reason := missing(solver):
        raise InputError(f"the solver {name} needs a package\n{reason}")
