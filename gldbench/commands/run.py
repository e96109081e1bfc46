"""`gldbench run SPEC`: an experiment, or a table of a paper."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import Json, UnsafeCode
from gldbench.commands.report import show_report
from gldfusion.paths import resolved


def run(
    spec: Annotated[
        str,
        typer.Argument(help="Name of a shipped spec or recipe, such as tiny, table3 or paper, or path of a YAML file."),
    ],
    output: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/<spec name>.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of worker processes, with one thread each. Default: one per CPU core."),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="How jobs are run: processes (all cores), serial (in this process), or ray (a Ray cluster)."),
    ] = "processes",
    world_seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Run the experiment in the world of this seed: other data, other models, another folder."
        ),
    ] = None,
    unsafe_code: UnsafeCode = False,
    data: Annotated[
        str | None, typer.Option(help='For a table or recipe: folder of benchmark files, or "hub" to download them.')
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(help="For a table: NAME=FOLDER, a checkpoint folder instead of the hub; may be repeated."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="For a table or recipe: comma-separated models or fusions. Default: all.")
    ] = "",
    substitute: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|tiny",
            help="For a table: one checkpoint for all models. tiny, for a table or a recipe: a random two-layer model.",
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="For a table: library that runs the models. Default: that of the table.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="For a table or recipe: most items of each task. Default: all.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what the run will do, the hours that it takes, and run nothing.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="For a table: write the report of what is measured, and run nothing.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="For a table: folder of the report. Default: report/ in the run's folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run an experiment: make models, fuse them, evaluate them, write the report. Run the command again to resume.

    A spec can also be a table of a paper, such as table3: its models are evaluated, and the report shows their scores
    beside the published ones. Or a recipe, such as paper: its sources are cached, its pivot is trained and evaluated.
    """
    from gldbench.commands.table import TableOptions, run_table
    from gldbench.console import reporter
    from gldbench.spec import in_world, load_spec, spec_path
    from gldbench.spent import Clock
    from gldbench.sweep.definition import find_sweep
    from gldbench.tables.definition import is_table

    options = TableOptions(
        data=data,
        models=models or [],
        only=only,
        substitute=substitute,
        backend=backend,
        limit=limit,
        plan=plan,
        report_only=report_only,
        report=report,
    )
    if find_sweep(spec) is not None:
        from gldbench.commands.sweep import run_recipe

        run_recipe(spec, output, options, workers or os.cpu_count() or 1, engine, as_json)
        return
    if is_table(spec_path(spec)):
        run_table(spec_path(spec), output, options, as_json)
        return
    dataclasses.replace(options, plan=False).refuse(spec)
    clock = Clock(1 if engine == "serial" else workers or os.cpu_count() or 1)
    loaded = load_spec(spec) if world_seed is None else in_world(load_spec(spec), world_seed)
    folder = resolved(output or Path("runs") / loaded.name)
    if plan:
        from gldbench.commands.plan import show_plan

        show_plan(loaded, folder, clock.workers, as_json)
        return
    from gldbench.run import Machine, run_spec  # slower to import: only after the spec was read without an error

    machine = Machine(clock.workers, 1, engine, unsafe_code)
    with reporter(f"run {loaded.name}") as progress:
        ran = run_spec(loaded, folder, machine, progress)
    clock.jobs_done(ran)
    show_report(folder, as_json, {"jobs_run": len(ran.seconds)}, clock=clock)
