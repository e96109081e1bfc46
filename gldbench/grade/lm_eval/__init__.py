"""The grader "lm_eval": lm-eval's own filters and metrics on stored responses.

- `upstream.py`: benchmarks that are tasks of lm-eval (the task's key `harness` names one);
- `own_tasks.py`: other tasks, through lm-eval's machinery with our patterns as its filters;
- `catalogue.py`: which tasks of lm-eval are known here.

Importing this package does not import lm-eval, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from gldbench.grade.grader import Grade, task_headline
from gldbench.grade.judges import JUDGES
from gldbench.grade.lm_eval.catalogue import upstream_of
from gldbench.schema import Item, Response, Task


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """One grade per item, filter and metric, from lm-eval's samples."""
    from gldbench.grade.lm_eval import own_tasks, upstream

    if not items:
        return []
    return (upstream if task.harness else own_tasks).grade(task, items, responses)


def applies(task: Task) -> bool:
    """Whether lm-eval has the benchmark, or can find and compare the answers with our expressions."""
    return bool(task.harness or (task.patterns and (task.scorer == "code" or JUDGES[task.scorer].form)))


def headline(task: Task) -> tuple[str, str]:
    """The (filter, metric) to quote: of lm-eval's own task where the benchmark is one, else of our task."""
    if not task.harness:
        return task_headline(task)
    found = upstream_of(task)
    return found.filter, found.metric
