"""Our own graders of whole outputs: `JUDGES`, values of a task's key `scorer`; one file each."""

from __future__ import annotations

from gldbench.evaluate.graders.judges.base import Judge, Mark
from gldbench.evaluate.graders.judges.choice import CHOICE
from gldbench.evaluate.graders.judges.code import CODE
from gldbench.evaluate.graders.judges.drop import DROP
from gldbench.evaluate.graders.judges.ifeval import IFEVAL
from gldbench.evaluate.graders.judges.loglikelihood import LOGLIKELIHOOD
from gldbench.evaluate.graders.judges.math import MATH
from gldbench.evaluate.graders.judges.theoremqa import THEOREMQA

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
