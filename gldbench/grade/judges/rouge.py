"""ROUGE-L: how much of a reference answer an output repeats in the same order (Lin, 2004, ACL workshop, W04-1013).

The score is the F-measure of `rouge_score` with its stemmer, and the best one over all references, as in the evaluation
of Super-NaturalInstructions (Wang et al., 2022, arXiv:2204.07705) and in work on distillation since then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from gldbench.grade.judges.judge import ANSWER, Judge, Mark
from gldbench.schema import Item, Task

METRIC = "rouge_l"


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(output: str, references: Sequence[str]) -> float:
    """The largest ROUGE-L F-measure of an output over its references, from 0 to 1."""
    return max(_scorer().score(reference, output)["rougeL"].fmeasure for reference in references)


def judge(task: Task, items: Sequence[Item], outputs: Sequence[str]) -> list[list[Mark]]:
    """One mark for each item. The whole output is the answer; an empty one counts as 0."""
    return [[_mark(item, output)] for item, output in zip(items, outputs, strict=True)]


def _mark(item: Item, output: str) -> Mark:
    value = rouge_l(output, item.golds or (item.target,))
    return Mark(ANSWER, METRIC, value, answered=bool(output.strip()), how="bare", found=output.strip())


ROUGE = Judge(judge)
