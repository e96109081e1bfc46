"""Writes the report of a table: Markdown, HTML, CSV and LaTeX. All four show the same numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from gldbench.report.page import TEMPLATES as REPORT_TEMPLATES
from gldbench.report.page import colours
from gldbench.schema import Estimate
from gldbench.tables.cells import Cell, Column, TableResult
from gldfusion.files import atomic_write

TEMPLATES = Path(__file__).parent / "templates"
NOT_MEASURED = "not measured"
MINUS = "\N{MINUS SIGN}"
CSV_COLUMNS = (
    "row",
    "task",
    "model",
    "published",
    "measured",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "published_inside",
    "items",
    "items_of_task",
    "no_answer",
    "truncated",
    "strict",
    "lenient",
    "checkpoint",
    "substitute",
)


def write_table(result: TableResult, folder: Path) -> dict[str, Path]:
    """Writes table.md, index.html, table.csv and table.tex into `folder`; returns kind -> path.

    Equal results give equal bytes. Every file is written completely or not at all.
    """
    paths = {kind: folder / name for kind, name in _NAMES.items()}
    for kind, path in paths.items():
        with atomic_write(path) as file:
            file.write(_TEXTS[kind](result).encode())
    return paths


def points(value: float | None) -> str:
    """A score in points with two decimals; "" for none."""
    return "" if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """A difference in points with its sign."""
    if value is None:
        return ""
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", MINUS)


def interval(estimate: Estimate | None, sign: bool = False) -> str:
    """The ends of an interval, with one decimal."""
    if estimate is None:
        return ""
    text = f"{estimate.low:+.1f} to {estimate.high:+.1f}" if sign else f"{estimate.low:.1f} to {estimate.high:.1f}"
    return text.replace("-", MINUS)


def verdict(cell: Cell) -> str:
    """Whether the published value lies inside the interval of the measured one, as a word."""
    return {None: "", True: "inside", False: "outside"}[cell.inside]


def _facts(result: TableResult) -> dict[str, Any]:
    return {
        "result": result,
        "table": result.table,
        "rows": list(result.table.rows),
        "measured": [column for column in result.columns if column.measured],
        "points": points,
        "signed": signed,
        "interval": interval,
        "verdict": verdict,
        "status": status,
        "NOT_MEASURED": NOT_MEASURED,
        "colours": colours(),
        "tables": {},  # the style sheet of reports wants the tables of an experiment
    }


def status(column: Column) -> str:
    """One sentence that says what the measured cells of a model are."""
    if not column.measured:
        return f"{column.title}: not measured. {column.note}".strip()
    limited = any(cell.measured and cell.measured.n < cell.n_task for cell in column.cells)
    parts = [f"{column.title}: {column.measured} of {len(column.cells)} rows measured on {column.checkpoint}"]
    if column.substitute:
        parts.append("a SUBSTITUTE for the model, so that its scores say nothing about the model")
    if column.hub:
        parts.append(f"loaded from {column.hub} at {column.commit}")
    if limited:
        parts.append("on a part of the items (--limit)")
    settings = column.settings or {}
    if settings:
        parts.append(
            f"backend {settings['backend']}, data type {settings['dtype']}, {settings['tensor_parallel']} GPU(s), "
            f"at most {settings['max_tokens']} tokens, "
            f"{'no chat template' if settings['chat_template'] is None else 'its chat template'}"
        )
    return "; ".join(parts) + "." + (f" {column.note}" if column.note else "")


def _render(name: str, result: TableResult, escape: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([TEMPLATES, REPORT_TEMPLATES]),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(_facts(result))


def _markdown(result: TableResult) -> str:
    return _render("table.md.j2", result, escape=False)


def _html(result: TableResult) -> str:
    return _render("table.html.j2", result, escape=True)


def _csv(result: TableResult) -> str:
    """One line for each row and model, then the averages under the row "average"."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    tasks = [row.task for row in result.table.rows.values()]
    for column in result.columns:
        for title, task, cell in zip(result.table.rows, tasks, column.cells, strict=True):
            writer.writerow(_csv_line(title, task, column, cell))
        writer.writerow(_csv_line("average", "", column, column.average))
    return text.getvalue()


def _csv_line(title: str, task: str, column: Column, cell: Cell) -> Sequence[Any]:
    own, difference = cell.measured, cell.difference

    def plain(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return (
        title,
        task,
        column.model,
        plain(cell.published),
        plain(own.value if own else None),
        plain(own.low if own else None),
        plain(own.high if own else None),
        plain(difference.value if difference else None),
        plain(difference.low if difference else None),
        plain(difference.high if difference else None),
        {None: "", True: "yes", False: "no"}[cell.inside],
        own.n if own else "",
        cell.n_task or "",
        cell.no_answer if own else "",
        cell.truncated if own else "",
        plain(cell.strict),
        plain(cell.lenient),
        column.checkpoint,
        "yes" if column.substitute else "",
    )


def _latex(result: TableResult) -> str:
    """A tabular with two columns for each model, published and measured; it needs no package."""
    columns = result.columns
    heads = " & ".join(rf"\multicolumn{{2}}{{c}}{{{_tex(column.title)}}}" for column in columns)
    lines = [
        f"% {result.table.title}. Source of the published values: {result.table.source}",
        "% pub.: published, meas.: measured here; -- means not measured; * published value outside the 95 % interval",
        *(f"% {status(column)}" for column in columns),
        rf"\begin{{tabular}}{{l{'rr' * len(columns)}}}",
        r"\hline",
        rf" & {heads} \\",
        "Task" + " & pub. & meas." * len(columns) + r" \\",
        r"\hline",
    ]
    for place, title in enumerate(result.table.rows):
        lines.append(" & ".join([_tex(title), *(_tex_cell(column.cells[place]) for column in columns)]) + r" \\")
    lines.append(r"\hline")
    lines.append(" & ".join(["Average", *(_tex_cell(column.average) for column in columns)]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _tex_cell(cell: Cell) -> str:
    own = "--" if cell.measured is None else points(cell.measured.value) + ("*" if cell.inside is False else "")
    return f"{points(cell.published) or '--'} & {own}"


def _tex(text: str) -> str:
    escapes = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(escapes.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)


_NAMES = {"html": "index.html", "markdown": "table.md", "csv": "table.csv", "latex": "table.tex"}
_TEXTS = {"html": _html, "markdown": _markdown, "csv": _csv, "latex": _latex}
