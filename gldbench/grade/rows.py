"""Rows from stored responses: which graders there are, and what each makes of them. Imports no model code."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from gldbench.grade import GRADERS
from gldbench.schema import Item, Response, Row, Task
from gldfusion.errors import InputError, require_known

LATER = ("opencompass",)
"""graders whose names are taken"""


@dataclass(frozen=True)
class RowLabels:
    """What a row says about where it belongs, besides the item and its grade."""

    run_id: str
    env_id: str
    suite: str
    subject: str
    method: str
    world_seed: int = 0
    seed: int = 0


def grade(
    task: Task,
    items: Sequence[Item],
    responses: Sequence[Response],
    labels: RowLabels,
    graders: Sequence[str] = ("lm_eval",),
) -> list[Row]:
    """Rows of stored responses: one per grader, filter and item. Runs no model.

    Args:
        task: what the items belong to; it names scorer and filters.
        items: any of the task's items.
        responses: their responses, in the same order.
        graders: keys of GRADERS.

    Raises:
        InputError: unknown grader.
        ValueError: responses that do not belong to the items.
    """
    if [item.item_id for item in items] != [response.item_id for response in responses]:
        raise ValueError(f"the responses do not belong to the {len(items)} items of task {task.name}")
    clusters = {item.item_id: item for item in items}
    rows = []
    for name in graders:
        require_known("grader", name, GRADERS)
        if not GRADERS[name].applies(task):
            continue
        for mark in GRADERS[name].grade(task, items, responses):
            item = clusters[mark.item_id]
            rows.append(
                Row(
                    **dataclasses.asdict(labels),
                    task=task.name,
                    task_version=task.version,
                    variant=item.variant,
                    item=mark.row_item,
                    cluster=item.cluster,
                    grader=name,
                    filter=mark.filter,
                    metric=mark.metric,
                    value=mark.value,
                    unit="fraction",
                    status=mark.status,
                    reason=mark.reason,
                )
            )
    return rows


def graders_named(names: str | None) -> tuple[str, ...]:
    """Keys of GRADERS from a comma-separated list; all of them where there is none.

    Raises:
        InputError: a name that is no grader, or one that is still to come.
    """
    wanted = [name.strip() for name in (names or ",".join(GRADERS)).split(",") if name.strip()]
    for name in wanted:
        if name in LATER:
            raise InputError(
                f'the grader "{name}" comes later: it is known, but not built yet\nnow: {", ".join(GRADERS)}'
            )
        require_known("grader", name, GRADERS)
    return tuple(dict.fromkeys(wanted))


def bare_response(item: Item, output: str) -> Response:
    """A response of which nothing is known but the output."""
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
