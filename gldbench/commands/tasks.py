"""`gldbench tasks list`, `gldbench tasks show TASK`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from gldbench.commands.options import Json, print_json

tasks_app = typer.Typer(help="List the benchmarks, or show one of them.", no_args_is_help=True)


@tasks_app.command("list")
def list_tasks(as_json: Json = False) -> None:
    """List all benchmarks: number of items, title, and headline (grader/filter/metric of the score quoted first)."""
    from gldbench.console import print_rows
    from gldbench.tasks import load_task, task_names

    found = [load_task(name) for name in task_names()]
    if as_json:
        print_json([dataclasses.asdict(task) for task in found])
        return
    lines = [
        (
            t.name,
            str(t.dataset.count or "made"),
            f"{t.headline.grader}/{t.headline.filter}/{t.headline.metric}",
            t.title,
        )
        for t in found
    ]
    print_rows(("task", "items", "headline", "title"), *lines)


@tasks_app.command("show")
def show_task(name: Annotated[str, typer.Argument(help="Task name, such as gsm8k.")]) -> None:
    """Show everything that the folder of a task says: prompt, data, metric, citation and more."""
    import yaml

    from gldbench.tasks import load_task

    print(yaml.safe_dump(dataclasses.asdict(load_task(name)), sort_keys=False, allow_unicode=True), end="")
