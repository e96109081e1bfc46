"""Options that several commands have, and the printing of JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Data = Annotated[str, typer.Option(help='Folder of benchmark files, or "hub" to download them.')]
UnsafeCode = Annotated[
    bool, typer.Option("--unsafe-code", help="Run model-written code even if there is no sandbox. Every row is marked.")
]
ChangedData = Annotated[
    bool,
    typer.Option("--allow-changed-data", help="Accept data files whose checksum differs. Every row is marked."),
]
Harness = Annotated[
    str | None,
    typer.Option(help="Comma-separated graders. Default: every grader that applies to a task and is set up."),
]


def chosen_graders(harness: str | None) -> tuple[str, ...]:
    """The graders of the option --harness. Says on standard error which ones are left out because they are not set up.

    Raises:
        InputError: a name that is no grader, or a named grader that is not set up.
    """
    from gldbench.grade.rows import graders_named, unavailable

    if not harness:
        for name, reason in unavailable().items():
            print(f"the grader {name} is not used: {reason}", file=sys.stderr)
    return graders_named(harness)


TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that the checkpoints bring with them. It may do anything on this machine. This is recorded.",
    ),
]


def _use_tasks_dirs(folders: list[Path] | None) -> list[Path] | None:
    """Adds the folders to GLDBENCH_TASKS, which worker processes inherit."""
    from gldbench.tasks import TASKS_VARIABLE, tasks_roots

    if folders:
        named = [*map(str, folders), os.environ.get(TASKS_VARIABLE, "")]
        os.environ[TASKS_VARIABLE] = os.pathsep.join(filter(None, named))
        tasks_roots()  # refuses a folder that does not exist
    return folders


TasksDir = Annotated[
    list[Path] | None,
    typer.Option(
        "--tasks-dir",
        help="Folder with your own task folders, besides the built-in ones; may be repeated. "
        "The variable GLDBENCH_TASKS does the same.",
        callback=_use_tasks_dirs,
        is_eager=True,
        show_default=False,
    ),
]


def print_json(value: Any) -> None:
    """Prints one JSON document. Values that JSON does not know, such as paths, become texts."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    """Turns NumPy numbers into numbers, and everything else into text."""
    return value.item() if hasattr(value, "item") else str(value)
