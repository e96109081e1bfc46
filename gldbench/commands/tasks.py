"""`gldbench tasks list`, `gldbench tasks show TASK`, `gldbench tasks new FILE.jsonl`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from gldbench.commands.options import Json, TasksDir, print_json

tasks_app = typer.Typer(help="List the benchmarks, show one of them, or begin a new one.", no_args_is_help=True)


@tasks_app.command("list")
def list_tasks(tasks_dir: TasksDir = None, as_json: Json = False) -> None:
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
def show_task(
    name: Annotated[str, typer.Argument(help="Task name, such as gsm8k.")],
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Show what the folder of a task says: prompt, data, metric, citation and more. `--json` shows empty keys too."""
    import yaml

    from gldbench.tasks import load_task

    task = dataclasses.asdict(load_task(name))
    if as_json:
        print_json(task)
    else:
        print(yaml.safe_dump(_without_empty(task), sort_keys=False, allow_unicode=True, width=100), end="")


def _without_empty(keys: dict[str, Any]) -> dict[str, Any]:
    """The keys that have a value. A mapping without any is left out as well."""
    shown = {key: _without_empty(value) if isinstance(value, dict) else value for key, value in keys.items()}
    return {key: value for key, value in shown.items() if value not in (None, "", {}, [], ())}


@tasks_app.command("new")
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="Data file: one JSON object in each line.")],
    name: Annotated[str, typer.Option(help="Name of the task. Default: the name of the file or of its folder.")] = "",
    into: Annotated[Path, typer.Option(help="Folder that gets the folder of the task.")] = Path("tasks"),
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Begin a benchmark: write its task.yaml from its data file, and say what is left to fill in."""
    from gldbench.tasks.new import new_task

    made = new_task(file, name, into)
    if as_json:
        print_json(dataclasses.asdict(made))
        return
    print(f"wrote {made.folder}/task.yaml: {made.count} rows")
    for key, value in made.guessed.items():
        print(f"guessed {key}: {value}")
    print("fill in:")
    for text in made.missing:
        print(f"  {text}")
    print(
        "then try it with\n"
        f"  gldbench tasks show {made.name} --tasks-dir {into}\n"
        f"  gldbench score {made.name} RESPONSES.jsonl --data {made.data} --tasks-dir {into}"
    )
