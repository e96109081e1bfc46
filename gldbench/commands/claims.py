"""`gldbench claims [RUN...]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import Json, print_json
from gldfusion.files import atomic_write
from gldfusion.paths import resolved

PAGE = "claims.html"
"""the page, in the folder report/ of the first run"""


def claims(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN...]",
            help="Folders of runs (`gldbench run`, `gldbench gw bench`), or of rows of a bench. Their rows replace the "
            "committed rows of the same kind. Default: the rows that are committed in reports/.",
        ),
    ] = None,
    only: Annotated[str, typer.Option(help="Comma-separated ids of claims. Default: all.")] = "",
    html: Annotated[
        Path | None,
        typer.Option(help="File for the page. Default: report/claims.html in the first RUN; without RUN, no page."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge the claims of the paper by stored rows: holds, fails, vacuous or undecided, and what was measured."""
    from gldbench.claims import CLAIMS, judged, read_evidence
    from gldbench.claims.page import page
    from gldfusion.errors import require_known

    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        require_known("claim", name, CLAIMS)
    folders = [resolved(run) for run in runs or ()]
    evidence = read_evidence(folders)
    found = judged(evidence, names)
    path = html or (folders[0] / "report" / PAGE if folders else None)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(page(found, evidence.found).encode())
    if as_json:
        print_json({"claims": found, "rows": list(evidence.found), "page": path and str(path)})
        return
    _print(found, evidence.found)
    if path is not None:
        print(f"page: {path}")


def _print(found: list[dict[str, str]], places: tuple[str, ...]) -> None:
    """Prints each claim with its verdict and figures, then the summary and where the rows were read."""
    from gldbench.claims.page import summary
    from gldbench.console import print_wrapped

    for claim in found:
        print(f"{claim['verdict']:<10} {claim['id']}")
        print_wrapped(claim["measured"], indent=11)
    print()
    print_wrapped(summary(found))
    for place in places:
        print(f"rows: {place}")
