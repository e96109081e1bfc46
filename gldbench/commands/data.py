"""`gldbench data prepare CONFIG --output DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import ChangedData, Json, TasksDir, print_json

data_app = typer.Typer(help="Make training data.", no_args_is_help=True)


@data_app.callback()
def _group() -> None:
    """Keeps `prepare` a verb of its own although it is the only one."""


@data_app.command()
def prepare(
    config: Annotated[Path, typer.Argument(help="Configuration (YAML). docs/fusing.md explains every key.")],
    output: Annotated[Path, typer.Option(help="Folder of the prepared data. It must not exist.")],
    data: Annotated[str | None, typer.Option(help='Folder of benchmark files, or "hub" to download them.')] = None,
    backend: Annotated[str, typer.Option(help="What runs the model of a filter: hf or vllm.")] = "hf",
    allow_changed_data: ChangedData = False,
    tasks_dir: TasksDir = None,
    as_json: Json = False,
) -> None:
    """Draw training examples, remove those that contain items of benchmarks, and filter code by running it.

    The folder gets train.jsonl, report.json and report.md. Run the command again to resume.
    """
    from gldbench.console import reporter
    from gldbench.data.config import load_preparation
    from gldfusion.paths import resolved

    settings = load_preparation(config)
    from gldbench.data.prepare import prepare as run

    place = None if data is None else "hub" if data == "hub" else Path(data)
    with reporter(f"data prepare {settings.name}") as report:
        show = lambda done, total: report("answers", done, total)  # noqa: E731
        made = run(settings, resolved(output), place, allow_changed=allow_changed_data, backend=backend, progress=show)
    if as_json:
        print_json(made)
        return
    for part in made["parts"]:
        short = "" if part["asked"] in (None, part["taken"]) else f" of {part['asked']} that were asked for"
        print(f"{part['part']}: {part['taken']} examples{short}, {part['contaminated']} contaminated")
    print(f"prepared data: {output}/train.jsonl ({made['examples']} examples)")
