"""`gldbench disagree OUT` and `gldbench disagree TASK RESPONSES.jsonl`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gldbench.commands.options import ChangedData, Harness, Json, TasksDir, UnsafeCode, chosen_graders, print_json

if TYPE_CHECKING:
    from gldbench.items.records import Items, ItemView


def disagree(
    what: Annotated[
        str,
        typer.Argument(
            metavar="OUT|TASK",
            help="Output folder of `gldbench eval` or `gldbench run`, or the task that RESPONSES.jsonl answers.",
        ),
    ],
    responses: Annotated[
        Path | None,
        typer.Argument(metavar="[RESPONSES.jsonl]", help='File of lines {"item_id": ..., "output": ...}.'),
    ] = None,
    data: Annotated[
        str, typer.Option(help='Folder of benchmark files, or "hub". Needed for RESPONSES.jsonl only.')
    ] = "",
    harness: Harness = None,
    items: Annotated[
        Path | None,
        typer.Option(help="File for the items on which graders differ. Default: disagreements.jsonl in OUT, or here."),
    ] = None,
    unsafe_code: UnsafeCode = False,
    allow_changed_data: ChangedData = False,
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Compare graders on the same responses: agreement, Cohen's kappa, who is more lenient, and where they differ.

    With OUT, the grades that are stored there are compared. With TASK and RESPONSES.jsonl, the responses are graded.
    """
    from gldbench.console import print_rows
    from gldbench.items import differences as found
    from gldbench.items.text import require_folder
    from gldfusion.errors import InputError

    if responses is None:
        folder = Path(what)
        if not folder.is_dir():
            raise InputError(
                f"no folder {what}\nexpected the --output folder of `gldbench eval`, or TASK and RESPONSES.jsonl"
            )
        path, everything = items or folder / found.FILE, _stored(folder, harness)
    else:
        if not data:
            raise InputError("RESPONSES.jsonl is graded with the items of a benchmark\npass --data DIR or --data hub")
        path = items or Path(found.FILE)
        require_folder(path)
        everything = _graded(what, responses, data, harness, unsafe_code, allow_changed_data)
    result = found.find_differences(everything)
    if not result.pairs:
        raise InputError(
            "two graders are needed to compare them, but no response has grades of two\n"
            "grade the responses with more of them: --harness of `gldbench eval` or of this command"
        )
    require_folder(path)
    found.write_differences(result, path)
    if as_json:
        print_json(found.as_json(result) | {"items": str(path)})
        return
    print_rows(found.PAIR_HEADER, *found.pair_table(result.pairs))
    print()
    if result.items:
        print_rows(found.KIND_HEADER, *found.kind_table(result))
    print(f"graders differ on {len(result.items)} responses: {path}")


def _stored(folder: Path, harness: str | None) -> Items:
    """The items of an output folder, with the grades of the named graders."""
    import dataclasses

    from gldbench.grade.rows import graders_named
    from gldbench.items.read import read_folder

    found = read_folder(folder)
    if not harness:
        return found
    wanted = graders_named(harness)

    def only(view: ItemView) -> ItemView:
        answers = tuple(
            answer and dataclasses.replace(answer, marks=tuple(m for m in answer.marks if m.grader in wanted))
            for answer in view.answers
        )
        return dataclasses.replace(view, answers=answers)

    return dataclasses.replace(found, items=tuple(map(only, found.items)))


def _graded(
    task: str, responses: Path, data: str, harness: str | None, unsafe_code: bool, allow_changed: bool
) -> Items:
    """The items of a file of responses, with the grades of the chosen graders."""
    from gldbench.evaluate.score import grade_file

    graded = grade_file(
        task,
        responses,
        "hub" if data == "hub" else Path(data),
        chosen_graders(harness),
        unsafe_code=unsafe_code,
        allow_changed=allow_changed,
    )
    return graded.views()
