"""`gldbench fuse RECIPE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import TrustRemoteCode


def fuse(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML). docs/fusing.md explains every key.")],
    output: Annotated[Path, typer.Option(help="Folder of the fused checkpoint. It must not exist.")],
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Train the pivot by a recipe and write the fused checkpoint. Run the command again to resume.

    To use several processes or GPUs: `accelerate launch -m gldbench.cli fuse RECIPE --output DIR`.
    """
    from gldbench.console import reporter
    from gldfusion.checkpoint import require_free
    from gldfusion.paths import resolved
    from gldfusion.recipe import check_paths, load_recipe, with_trust

    loaded = with_trust(load_recipe(recipe), trust_remote_code)
    check_paths(loaded)
    require_free(output)
    from gldfusion.fuse import fuse as run_fusion  # loads torch, which takes seconds: after all quick checks

    with reporter(f"fuse {loaded.name}") as report:
        path = run_fusion(loaded, resolved(output), lambda done, total: report(loaded.name, done, total))
    print(f"fused checkpoint: {path}")
