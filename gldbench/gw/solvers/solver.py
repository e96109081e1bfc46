"""The interface of a solver: `Answer` is what it returns, `Solver` is its entry in SOLVERS."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from gldbench.gw.couplings import Coupling
from gldbench.gw.problem import Problem
from gldfusion.errors import InputError

Kind = Literal["lower", "upper", "exact", "paper", "evaluation"]
KINDS: dict[Kind, str] = {
    "lower": "a lower bound of GW_2^2",
    "upper": "a coupling, whose cost is an upper bound of GW_2^2",
    "exact": "GW_2^2 itself",
    "paper": "the paper's number, a lower bound of GW_1",
    "evaluation": "the cost of the sorted coupling, to compare the speed of different ways to compute it",
}
"""kind -> what a solver of this kind returns"""
OBJECTIVE = "sum (C_ik - D_jl)^2 pi_ij pi_kl"
"""the cost of a coupling pi, in the formulas of several solvers"""
EXTRAS = {"ot": "gw", "ott": "ott"}
"""import name of a package -> the extra of gldbench that installs it"""


@dataclass(frozen=True)
class Answer:
    """What a solver returns: a coupling if its kind is "upper", a number for every other kind."""

    value: float | None = None
    """in the units of the problem that the solver was given"""
    coupling: Coupling | None = None
    """a plan [n, m] or `Pieces`. The harness checks its marginals and computes its cost."""
    detail: dict[str, float] = field(default_factory=dict)
    """further numbers that the bench stores as rows, for example "nodes" """


@dataclass(frozen=True)
class Solver:
    """One entry of SOLVERS: a function from a problem to an answer, and what the harness must know about it."""

    run: Callable[[Problem], Answer]
    """raises NotApplicableError if it has no answer for a problem. Its docstring begins with the summary."""
    kind: Kind
    formula: str
    """what it computes, in plain text"""
    source: str
    """the publication or the library that it comes from"""
    max_nodes: int
    """largest n or m. The bench skips larger problems; `gw solve` runs them only if the solver is asked for by name."""
    growth: float
    """expected exponent of the time in n. With it the bench skips a solver that would exceed its budget."""
    package: str = ""
    """import name of the package that it needs, if gldbench does not require that package itself"""
    gpu: bool = False
    """whether it computes on the device of the problem's tensors. If not, it computes on the CPU."""

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n")[0]


def missing(solver: Solver) -> str:
    """Which package the solver lacks in this installation, and how to install it; "" if it lacks none."""
    if not solver.package or importlib.util.find_spec(solver.package) is not None:
        return ""
    return f"{solver.package} is not installed: pip install 'gldbench[{EXTRAS[solver.package]}]'"


def require(solver: Solver, name: str) -> None:
    """Checks that the package of a solver is installed.

    Raises:
        InputError: it is not.
    """
    if reason := missing(solver):
        raise InputError(f"the solver {name} needs a package\n{reason}")
