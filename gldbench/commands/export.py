"""`gldbench export OUT --to FORMAT DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import Json, TasksDir, print_json


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="Output folder of `gldbench eval`, or FOLDER:CHECKPOINT for one checkpoint of several."
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the files.")],
    to: Annotated[
        str,
        typer.Option(
            help="inspect (.eval logs for `inspect view`), lm-eval (results and samples files), csv (a line per grade)."
        ),
    ],
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Write evaluated checkpoints in the format of another tool, with prompt, response and every grade of each item."""
    from gldbench.export import export as run_export

    written = run_export(source, to, folder)
    if as_json:
        print_json({"to": to, "files": written})
        return
    for path in written:
        print(path)
