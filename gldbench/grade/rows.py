"""Rows from stored responses: runs graders and labels their grades. Imports no code of models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from gldbench.grade import GRADERS
from gldbench.schema import Item, Response, Row, Task
from gldfusion.errors import InputError, require_known

LONGEST_FOUND = 300
"""characters of a found answer that a row keeps"""


@dataclass(frozen=True)
class RowLabels:
    """The fields of a row that say which run, subject and seed it belongs to."""

    run_id: str
    env_id: str
    suite: str
    subject: str
    method: str
    world_seed: int = 0
    seed: int = 0
    remote_code: bool = False
    settings: str = ""


def grade(
    task: Task,
    items: Sequence[Item],
    responses: Sequence[Response],
    labels: RowLabels,
    graders: Sequence[str] = ("lm_eval",),
) -> list[Row]:
    """Rows of stored responses: one per grade of each grader that applies to the task. Runs no model.

    Args:
        task: the task that the items belong to. It names the judge and the filters.
        items: any of the task's items.
        responses: their responses, in the same order.
        labels: the other fields of every row.
        graders: keys of GRADERS.

    Raises:
        InputError: a name that is no grader.
        ValueError: the responses do not belong to the items.
    """
    if [item.item_id for item in items] != [response.item_id for response in responses]:
        raise ValueError(f"the responses do not belong to the {len(items)} items of task {task.name}")
    by_id = {item.item_id: item for item in items}
    rows = []
    for name in graders:
        require_known("grader", name, GRADERS)
        if not GRADERS[name].applies(task):
            continue
        version = " ".join(filter(None, (GRADERS[name].version(), GRADERS[name].rules(task))))
        for graded in GRADERS[name].grade(task, items, responses):
            item = by_id[graded.item_id]
            rows.append(
                Row(
                    **dataclasses.asdict(labels),
                    task=task.name,
                    task_version=task.version,
                    variant=item.variant,
                    item=graded.row_item,
                    cluster=item.cluster,
                    grader=name,
                    filter=graded.filter,
                    metric=graded.metric,
                    value=graded.value,
                    unit="fraction",
                    status=graded.status,
                    reason=graded.reason,
                    how=graded.how,
                    found=graded.found[:LONGEST_FOUND],
                    grader_version=version,
                )
            )
    return rows


def graders_named(names: str | None) -> tuple[str, ...]:
    """Keys of GRADERS from a comma-separated list, each once.

    Where the list is None or empty: all that can be used on this machine; `unavailable` says what is left out.

    Raises:
        InputError: a name that is no grader, or a named grader that cannot be used on this machine.
    """
    wanted = list(dict.fromkeys(name.strip() for name in (names or "").split(",") if name.strip()))
    for name in wanted:
        require_known("grader", name, GRADERS)
        if reason := GRADERS[name].missing():
            raise InputError(f'the grader "{name}" cannot be used: {reason}\nor leave it out of --harness')
    return tuple(wanted) or tuple(name for name in GRADERS if name not in unavailable())


def unavailable() -> dict[str, str]:
    """Grader -> why it cannot be used on this machine, for those that cannot."""
    return {name: reason for name, grader in GRADERS.items() if (reason := grader.missing())}


def bare_response(item: Item, output: str) -> Response:
    """A response about which only the output is known."""
    return Response(
        case_id="",
        subject="",
        task=item.task,
        item_id=item.item_id,
        prompt_hash="",
        output=output,
        prompt_tokens=0,
        output_tokens=0,
        truncated_prompt=False,
        truncated_output=False,
        seconds=0.0,
    )
