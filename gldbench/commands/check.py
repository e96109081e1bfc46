"""`gldbench check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import Json


def check(
    baselines: Annotated[
        Path | None,
        typer.Option(help="Folder with one baseline <guard>.json for each guard. Default: the shipped baselines."),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Overwrite the baselines instead of comparing with them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare values of losses, kernels, graders and solvers, and speeds of solvers, with stored baselines.

    The exit code is 1 if a value differs by more than rounding, or if a solver became much slower. A
    speed that looks worse while the machine is busy is inconclusive, and a number that the baseline does not hold is
    new. Both are listed apart, and neither makes the check fail.
    """
    from gldbench.guards import GUARDS, baselines_folder
    from gldbench.guards.baseline import print_results

    folder = baselines or baselines_folder()
    results = {name: guard(folder / f"{name}.json", update) for name, guard in GUARDS.items()}
    print_results(results, as_json)
    raise typer.Exit(0 if all(result.passed for result in results.values()) else 1)
