"""Our own graders of whole outputs: `JUDGES`, values of a task's key `scorer`; one file each."""

from __future__ import annotations

from gldbench.grade.judges.choice import CHOICE
from gldbench.grade.judges.code import CODE
from gldbench.grade.judges.drop import DROP
from gldbench.grade.judges.ifeval import IFEVAL
from gldbench.grade.judges.judge import Judge, Mark
from gldbench.grade.judges.loglikelihood import LOGLIKELIHOOD
from gldbench.grade.judges.math import MATH
from gldbench.grade.judges.theoremqa import THEOREMQA

JUDGES: dict[str, Judge] = {
    "choice": CHOICE,
    "code": CODE,
    "drop": DROP,
    "ifeval": IFEVAL,
    "loglikelihood": LOGLIKELIHOOD,
    "math": MATH,
    "theoremqa": THEOREMQA,
}

__all__ = ["JUDGES", "Judge", "Mark"]
