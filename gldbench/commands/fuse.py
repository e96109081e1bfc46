"""`gldbench fuse RECIPE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fuse(
    recipe: Annotated[Path, typer.Argument(help="Recipe YAML; docs/fusing.md explains every key.")],
    output: Annotated[Path, typer.Option(help="Folder of the fused checkpoint. It must not exist.")],
) -> None:
    """Train the pivot by a recipe and write the fused checkpoint.

    For several processes: `accelerate launch -m gldbench.cli fuse RECIPE --output DIR`.
    """
    from gldbench.console import reporter
    from gldfusion.recipe import load_recipe

    loaded = load_recipe(recipe)
    from gldfusion.fuse import fuse as run_fusion  # loads torch: only after the recipe was read without an error

    with reporter(f"fuse {loaded.name}") as report:
        path = run_fusion(loaded, output.resolve(), lambda done, total: report(loaded.name, done, total))
    print(f"fused checkpoint: {path}")
