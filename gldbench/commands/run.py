"""`gldbench run SPEC`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import Json, UnsafeCode
from gldbench.commands.report import show_report


def run(
    spec: Annotated[str, typer.Argument(help="Name of a shipped spec, such as tiny, or path of a YAML file.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/<spec name>.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of worker processes, with one thread each. Default: one per CPU core."),
    ] = None,
    unsafe_code: UnsafeCode = False,
    as_json: Json = False,
) -> None:
    """Run an experiment: make models, fuse them, evaluate them, write the report. Run the command again to resume."""
    from gldbench.console import reporter
    from gldbench.spec import load_spec

    loaded = load_spec(spec)
    folder = (output or Path("runs") / loaded.name).resolve()
    from gldbench.run import run_spec  # slower to import: only after the spec was read without an error

    with reporter(f"run {loaded.name}") as progress:
        ran = run_spec(
            loaded, folder, workers or os.cpu_count() or 1, threads=1, report=progress, unsafe_code=unsafe_code
        )
    show_report(folder, as_json, {"jobs_run": len(ran)})
