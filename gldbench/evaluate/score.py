"""Grades a file of responses, whoever made them: JSON lines `{"item_id": ..., "output": ...}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gldbench import sandbox
from gldbench.evaluate.results import TaskScore, estimate_json, graders_json, headline_json
from gldbench.grade import GRADERS
from gldbench.grade.judges.loglikelihood import likelihoods
from gldbench.grade.rows import RowLabels, bare_response, grade
from gldbench.items.read import scored_items
from gldbench.items.text import require_folder, write_items
from gldbench.schema import Item, Row, Task
from gldbench.tasks import CHANGED, load_items, load_task
from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import parse_json, read_bytes, shown

EXPECTED = 'expected lines {"item_id": ..., "output": ...}'
KEYS = ("item_id", "output")


@dataclass(frozen=True)
class Graded:
    """The graded responses of a file."""

    task: Task
    known: list[Item]
    """all items of the task"""
    items: list[Item]
    """those that have a response"""
    outputs: dict[str, str]
    """item id -> output"""
    rows: list[Row]


def grade_file(
    task_name: str,
    responses: Path,
    data: Path | Literal["hub"],
    graders: Sequence[str] = tuple(GRADERS),
    *,
    unsafe_code: bool = False,
    allow_changed: bool = False,
) -> Graded:
    """Grades the responses in a file, and leaves the rows as they are. The arguments are those of `score`."""
    task = load_task(task_name)
    items = load_items(task, data, allow_changed=allow_changed)
    outputs = read_outputs(responses, task, items)
    given = [item for item in items if item.item_id in outputs]
    with sandbox.unsafe_code_allowed() if unsafe_code else nullcontext():
        rows = grade(
            task,
            given,
            [bare_response(item, outputs[item.item_id]) for item in given],
            RowLabels(run_id="", env_id="", suite="score", subject=str(responses), method="stored"),
            with_headline(task, graders),
        )
    return Graded(task=task, known=items, items=given, outputs=outputs, rows=rows)


def with_headline(task: Task, graders: Sequence[str]) -> tuple[str, ...]:
    """The grader of the task's headline, and the given ones, each once."""
    return tuple(dict.fromkeys((task.headline.grader, *graders)))


def score(
    task_name: str,
    responses: Path,
    data: Path | Literal["hub"],
    graders: Sequence[str] = tuple(GRADERS),
    *,
    unsafe_code: bool = False,
    allow_changed: bool = False,
    items_file: Path | None = None,
) -> dict[str, Any]:
    """Scores the responses in a file.

    Args:
        task_name: "gsm8k", "mmlu/anatomy", ...
        responses: file of JSON lines `{"item_id": ..., "output": ...}`. An output of null counts as an empty text. The
            file may hold any of the task's items in any order, each at most once. Other keys are ignored.
        data: folder with the files of the benchmarks, or "hub".
        graders: keys of GRADERS. A grader that does not apply to the task is left out; the grader of the task's
            headline is always used.
        unsafe_code: if there is no sandbox, run model-written code without one; every row then says so.
        allow_changed: accept data files with another checksum.
        items_file: file for prompt, gold answer, output and grades of every graded item: an HTML page if its name ends
            in .html, else JSON lines; None: none is written.

    Returns:
        A dictionary with the keys "task", "n", "n_task", "headline", "by_subtask", "graders", "not_applicable",
        "notes" and "changed_data". Scores are in [0, 1]; "n" of the task's "n_task" items were graded; "graders" has an
        entry for each grader that applies.

    Raises:
        InputError: a name, the data or a line of the file is not as it should be; the message names the line.
    """
    if items_file is not None:
        require_folder(items_file)
    graded = grade_file(task_name, responses, data, graders, unsafe_code=unsafe_code, allow_changed=allow_changed)
    task, items, given, rows = graded.task, graded.known, graded.items, graded.rows
    if items_file is not None:
        views = scored_items(str(responses), task, given, graded.outputs, rows)
        write_items(views, items_file, f"{task.name}: items of {responses.name}")
    result = TaskScore(
        subject=str(responses),
        checkpoint="",
        task=task,
        n=len(given),
        n_task=len(items),
        rows=rows,
        truncated_prompts=0,
        truncated_outputs=0,
        max_tokens=task.generation.max_tokens,
    )
    by_subtask = result.by_subtask
    return {
        "task": task.name,
        "n": len(given),
        "n_task": len(items),
        "headline": headline_json(result),
        "by_subtask": None if by_subtask is None else estimate_json(by_subtask),
        "graders": graders_json(rows, task),
        "not_applicable": [name for name in with_headline(task, graders) if not GRADERS[name].applies(task)],
        "notes": result.notes,
        "changed_data": any(item.variant.endswith(CHANGED) for item in items),
    }


def read_outputs(path: Path, task: Task, items: Sequence[Item]) -> dict[str, str]:
    """Reads a file of responses to some of `items`; returns item id -> output.

    Raises:
        InputError: a line is not a response to an item of the task, or an item has two responses. The message names
            the line.
    """
    known = {item.item_id: item for item in items}
    found: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(_content(path).split(b"\n"), start=1):  # splitlines would split strings at \u2028
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        item_id, output = _read_line(line, where)
        if item_id not in known:
            raise InputError(
                f'{where}: task {task.name} has no item "{item_id:.60}"{did_you_mean(item_id, known)}\n'
                f"the ids of its {len(items)} items are {', '.join(item.item_id for item in items[:3])}, ..."
            )
        if item_id in found:
            raise InputError(
                f'{where}: line {found[item_id][0]} already has a response to item "{item_id}"\n'
                "give one response per item"
            )
        if task.kind == "loglikelihood" and likelihoods(output, len(known[item_id].choices)) is None:
            raise InputError(
                f"{where}: task {task.name} scores the log-likelihoods of the options, not a text\n"
                'expected as output the JSON text {"loglikelihoods": [...]} with one number for each option; '
                f"texts are scored by the task {task.name.partition('_ll')[0]}"
            )
        found[item_id] = number, output
    if not found:
        raise InputError(
            f'{path} holds no responses\nexpected lines like {{"item_id": "{items[0].item_id}", "output": "..."}}'
        )
    return {item_id: output for item_id, (_, output) in found.items()}


def _content(path: Path) -> bytes:
    return read_bytes(path, "file of responses", EXPECTED).removeprefix(b"\xef\xbb\xbf")


def _read_line(line: bytes, where: str) -> tuple[str, str]:
    """(item id, output) of one line."""
    record: Any = parse_json(line, where, EXPECTED)
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected an object with item_id and output, got {shown(record, 40)}")
    _require_keys(record, where)
    item_id, output = record["item_id"], record["output"]
    if not isinstance(item_id, str | int) or isinstance(item_id, bool):
        raise InputError(f"{where}: item_id must be a text or a whole number, got {shown(item_id, 60)}")
    if output is not None and not isinstance(output, str):
        raise InputError(f'{where}: item "{item_id!s:.60}": output must be a text or null, got {shown(output, 60)}')
    # JSON may hold half of a surrogate pair, which no text can hold
    return str(item_id), (output or "").encode("utf-8", "replace").decode()


def _require_keys(record: Mapping[str, Any], where: str) -> None:
    for key in KEYS:
        if key not in record:
            item = f' (item "{record["item_id"]!s:.60}")' if "item_id" in record else ""
            near = next((name for name in record if did_you_mean(name, [key])), None)
            hint = f' (is "{near}" meant?)' if near else ""
            raise InputError(f'{where}{item} has no key "{key}"{hint}\nexpected the keys {", ".join(KEYS)}')
