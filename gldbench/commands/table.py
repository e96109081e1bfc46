"""What `gldbench run` and `gldbench report` do with a table of a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gldbench.commands.options import print_json
from gldfusion.errors import InputError
from gldfusion.paths import resolved

if TYPE_CHECKING:
    from gldbench.tables.cells import TableResult
    from gldbench.tables.definition import Table


@dataclass(frozen=True)
class TableOptions:
    """The options of `gldbench run` that only tables have."""

    data: str | None
    models: Sequence[str]
    only: str
    substitute: str | None
    backend: str | None
    limit: int | None
    plan: bool
    report_only: bool
    report: Path | None

    def refuse(self, spec: str) -> None:
        """Refuses the options for a spec that is no table.

        Raises:
            InputError: one of them was given.
        """
        for name, value in vars(self).items():
            if value:
                option = name.replace("_", "-")
                raise InputError(f"--{option} belongs to tables, and {spec} is an experiment\nleave out --{option}")


def run_table(path: Path, output: Path | None, options: TableOptions, as_json: bool) -> None:
    """Prints the plan of a table, or runs its models and writes its report."""
    from gldbench.console import print_rows
    from gldbench.tables import estimate
    from gldbench.tables.definition import load_table, require_models

    table = load_table(path)
    folder = resolved(output or Path("runs") / table.name)
    only = [name.strip() for name in options.only.split(",") if name.strip()]
    models = _folders(options.models)
    require_models(table, [*only, *models])
    if options.plan:
        found = estimate.estimates(table, only or list(table.models), options.limit)
        if as_json:
            print_json(estimate.as_json(table, found))
            return
        print_rows(*estimate.as_rows(found))
        print()
        for sentence in estimate.assumptions(table):
            print(f"- {sentence}")
        return
    runs = [] if options.report_only else _measured(table, path, folder, models, only, options)
    show_table(table, folder, options.report or folder / "report", as_json, runs)


def _measured(
    table: Table, path: Path, folder: Path, models: Mapping[str, Path], only: Sequence[str], options: TableOptions
) -> list[dict[str, Any]]:
    from gldbench.console import reporter
    from gldbench.tables import measure

    if options.data is None:
        raise InputError("running a table needs its data: give --data FOLDER or --data hub\n--plan needs none")
    with reporter(f"run {table.name}") as progress:
        runs = measure.run_table(
            table,
            path.read_text(encoding="utf-8"),
            folder,
            "hub" if options.data == "hub" else Path(options.data),
            models=models,
            only=only,
            substitute=options.substitute,
            backend=options.backend,
            limit=options.limit,
            report=progress,
        )
    return [vars(run) for run in runs]


def _folders(named: Sequence[str]) -> dict[str, Path]:
    """Reads --models NAME=FOLDER; several may be separated by commas."""
    found: dict[str, Path] = {}
    for text in (part for one in named for part in one.split(",") if part.strip()):
        name, equals, folder = text.strip().partition("=")
        if not equals or not name or not folder:
            raise InputError(f'expected --models NAME=FOLDER, got "{text}"\nexample: --models phi4_14b=/models/phi-4')
        if name in found:
            raise InputError(f"--models names {name} twice\ngive one folder for each model")
        found[name] = Path(folder)
    return found


def is_table_run(folder: Path) -> bool:
    """Tells whether a folder is that of a table."""
    return (folder / "table.yaml").is_file()


def report_table(folder: Path, as_json: bool) -> None:
    """Writes the report of the table in `folder` again."""
    from gldbench.tables.definition import load_table

    show_table(load_table(folder / "table.yaml"), folder, folder / "report", as_json, [])


def show_table(table: Table, folder: Path, report: Path, as_json: bool, runs: Sequence[Mapping[str, Any]]) -> None:
    """Writes the report of a table and prints what is measured.

    Args:
        table: the table.
        folder: folder of the run.
        report: folder of the report.
        as_json: print one JSON document instead of text.
        runs: what was run now, for each model.
    """
    from gldbench.console import print_rows
    from gldbench.tables.cells import collect
    from gldbench.tables.write import status, write_table

    result = collect(table, folder)
    paths = write_table(result, report)
    if as_json:
        print_json({"table": table.name, "models": _columns(result), "runs": list(runs), "report": paths})
        return
    print_rows(*_rows(result))
    print()
    for column in result.columns:
        print(f"- {status(column)}")
    for run in runs:
        kept = run["responses"] - run["generated"]
        print(
            f"{run['name']}: generated {run['generated_tokens']} tokens in {run['generated']} responses, "
            f"{run['seconds']:.1f} s; {kept} of {run['responses']} responses were stored already"
        )
    print(f"report: {paths['html']}")


def _columns(result: TableResult) -> list[dict[str, Any]]:
    return [
        {
            "model": column.model,
            "checkpoint": column.checkpoint or None,
            "substitute": column.substitute,
            "measured_rows": column.measured,
            "published_average": column.recomputed,
            "measured_average": column.average.measured.value if column.average.measured else None,
        }
        for column in result.columns
    ]


def _rows(result: TableResult) -> list[tuple[str, ...]]:
    """A header, then one row of text for each model."""
    from gldbench.tables.write import NOT_MEASURED, interval, points

    lines = [("model", "rows", "published", "measured", "95 % interval", "published values inside")]
    for column in result.columns:
        own = column.average.measured
        inside = [cell.inside for cell in column.cells if cell.inside is not None]
        lines.append(
            (
                f"{column.title} (substitute)" if column.substitute else column.title,
                f"{column.measured} of {len(column.cells)}",
                points(column.average.published),
                points(own.value) if own else NOT_MEASURED,
                interval(own),
                f"{sum(inside)} of {len(inside)}" if inside else "",
            )
        )
    return lines
