"""`gldbench fuse RECIPE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gldbench.commands.options import TasksDir, TrustRemoteCode
from gldfusion.errors import InputError

if TYPE_CHECKING:
    from gldbench.console import Reporter
    from gldfusion.progress import Watch
    from gldfusion.recipe import Recipe

TRACKER_HELP = (
    "Also send the log to a tracker: tensorboard, wandb, mlflow, or none. Default: tensorboard if it is installed. "
    "Files go to OUTPUT.tracking."
)


def fuse(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML). docs/fusing.md explains every key.")],
    output: Annotated[Path, typer.Option(help="Folder of the fused checkpoint. It must not exist.")],
    tracker: Annotated[str | None, typer.Option(help=TRACKER_HELP, show_default=False)] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks that score the pivot every train.evaluate_every steps; see `gldbench eval`."),
    ] = None,
    data: Annotated[str | None, typer.Option(help='For --tasks: folder of benchmark files, or "hub".')] = None,
    limit: Annotated[int, typer.Option(min=1, help="For --tasks: most items of each task.")] = 50,
    tasks_dir: TasksDir = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Train the pivot by a recipe and write the fused checkpoint. Run the command again to resume.

    To use several processes or GPUs: `accelerate launch -m gldbench.cli fuse RECIPE --output DIR`.
    """
    from gldbench.console import reporter
    from gldfusion.checkpoint import require_free
    from gldfusion.paths import resolved
    from gldfusion.recipe import load_recipe, with_trust
    from gldfusion.recipe_paths import check_paths

    loaded = with_trust(load_recipe(recipe), trust_remote_code)
    check_paths(loaded)
    require_free(output)
    with reporter(f"fuse {loaded.name}") as report:
        watch = _watch(loaded, resolved(output), report, tracker, (tasks, data, limit))
        from gldfusion.fuse import fuse as run_fusion  # loads torch, which takes seconds: after all quick checks

        def progress(done: int, total: int) -> None:
            report(loaded.name, done, total)

        path = run_fusion(loaded, resolved(output), progress, watch)
    print(f"fused checkpoint: {path}")


def _watch(
    recipe: Recipe, output: Path, report: Reporter, tracker: str | None, evaluation: tuple[str | None, str | None, int]
) -> Watch:
    """Who hears of the training: the terminal, a tracker, and the evaluation on tasks (tasks, data, limit)."""
    from gldfusion.progress import Watch, installed, require_tracker, tracking_folder

    if tracker is None:
        tracker = "tensorboard" if installed("tensorboard") else "none"
    if tracker != "none":
        require_tracker(tracker)
    tasks, data, limit = evaluation
    score = None
    if tasks is not None:
        if data is None:
            raise InputError("--tasks needs the files of the benchmarks\ngive --data DIR, or --data hub")
        if not recipe.train.evaluate_every:
            raise InputError("--tasks scores the pivot every train.evaluate_every steps\nset train.evaluate_every")
        from gldbench.evaluate.watching import scorer

        score = scorer(tasks, data, limit, tracking_folder(output) / "evaluation")
    return Watch(say=report.say, tracker=None if tracker == "none" else tracker, evaluate=score)
