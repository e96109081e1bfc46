"""`JUDGES`: how our own grader compares answers with gold answers. A task's key `scorer` names one of them."""

from __future__ import annotations

from gldbench.grade.judges.choice import CHOICE
from gldbench.grade.judges.code import CODE
from gldbench.grade.judges.drop import DROP
from gldbench.grade.judges.ifeval import IFEVAL
from gldbench.grade.judges.judge import Judge, Mark, NormalForm
from gldbench.grade.judges.loglikelihood import LOGLIKELIHOOD
from gldbench.grade.judges.math import MATH
from gldbench.grade.judges.normal_forms import EXACT_MATCH, NUMBER, SHORT_ANSWER
from gldbench.grade.judges.rouge import ROUGE
from gldbench.grade.judges.theoremqa import THEOREMQA

JUDGES: dict[str, Judge] = {
    "choice": CHOICE,
    "code": CODE,
    "drop": DROP,
    "exact_match": EXACT_MATCH,
    "ifeval": IFEVAL,
    "loglikelihood": LOGLIKELIHOOD,
    "math": MATH,
    "number": NUMBER,
    "rouge_l": ROUGE,
    "short_answer": SHORT_ANSWER,
    "theoremqa": THEOREMQA,
}

__all__ = ["JUDGES", "Judge", "Mark", "NormalForm"]
