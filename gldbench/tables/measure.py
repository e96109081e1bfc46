"""Runs the models of a table: each into its own folder, which is an ordinary output folder of `gldbench eval`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gldbench.evaluate.evaluate import evaluate
from gldbench.generate.checkpoint import AS_STORED, Engine, require_files
from gldbench.generate.generate import BACKENDS
from gldbench.grade import GRADERS
from gldbench.tables.definition import Table, require_models
from gldbench.tables.substitute import ANSWER_TOKENS, TINY, tiny_checkpoint
from gldfusion.errors import InputError, require_known
from gldfusion.files import atomic_write, write_json

Report = Callable[[str, int, int], None]
"""called with the name of a model, its responses that are done, and its responses in all"""
RECORD = "model.json"
"""file in the folder of a model that says which checkpoint was evaluated"""
SKIPPED_FILES = ("consolidated*", "original/*", "*.pth", "*.gguf", "*.onnx")
"""files of hub repositories that repeat the weights in another format"""


@dataclass(frozen=True)
class ModelRun:
    """What was done for one model."""

    name: str
    checkpoint: str
    responses: int
    generated: int
    generated_tokens: int
    seconds: float


@dataclass(frozen=True)
class Source:
    """Where the checkpoint of a model comes from."""

    folder: Path
    hub: str = ""
    commit: str = ""
    substitute: bool = False


def run_table(
    table: Table,
    text: str,
    folder: Path,
    data: Path | str,
    *,
    models: Mapping[str, Path],
    only: Collection[str] = (),
    substitute: str | None = None,
    backend: str | None = None,
    limit: int | None = None,
    report: Report | None = None,
) -> list[ModelRun]:
    """Evaluates the models of a table. What was generated before is not generated again.

    All folders are checked, and all models are downloaded, before the first one is asked.

    Args:
        table: the table.
        text: its YAML, which is kept in the folder of the run.
        folder: folder of the run; each model gets a folder of its own in it.
        data: folder with the files of the benchmarks, or "hub".
        models: name of a model -> its checkpoint folder, instead of the one on the hub.
        only: names of the models to run; empty: all that have a checkpoint.
        substitute: checkpoint folder that stands in for every model, or "tiny" for a random one made here.
        backend: a key of BACKENDS; None: that of the table, or hf for a substitute.
        limit: most items of each row; None: all.
        report: progress.

    Raises:
        InputError: a name, folder, backend or data file is not as it should be, or a model cannot be downloaded.
    """
    require_models(table, [*models, *only])
    require_known("backend", backend or table.engine.backend, BACKENDS)
    sources = _sources(table, folder, models, only, substitute)
    runs = []
    for name, source in sources.items():
        evaluation = evaluate(
            [source.folder],
            [row.task for row in table.rows.values()],
            data,
            limit,
            folder / name,
            variant=table.variant,
            graders=table.graders or tuple(GRADERS),
            backend=backend or ("hf" if source.substitute else table.engine.backend),
            batch_size=table.engine.batch_size if not source.substitute else 64,
            engine=AS_STORED if source.substitute else Engine(table.engine.dtype, table.engine.tensor_parallel),
            max_tokens=min(table.max_tokens, ANSWER_TOKENS) if source.substitute else table.max_tokens,
            progress=None if report is None else partial(report, name),
        )
        checkpoint = evaluation.scores[0].subject
        write_json(folder / name / RECORD, _record(name, source, checkpoint))
        with atomic_write(folder / "table.yaml") as file:
            file.write(text.encode())
        runs.append(
            ModelRun(
                name=name,
                checkpoint=checkpoint,
                responses=evaluation.responses,
                generated=evaluation.generated,
                generated_tokens=evaluation.generated_tokens,
                seconds=evaluation.seconds,
            )
        )
    return runs


def _record(name: str, source: Source, checkpoint: str) -> dict[str, Any]:
    return {
        "model": name,
        "checkpoint": checkpoint,
        "hub": source.hub,
        "commit": source.commit,
        "substitute": source.substitute,
    }


def _sources(
    table: Table, folder: Path, models: Mapping[str, Path], only: Collection[str], substitute: str | None
) -> dict[str, Source]:
    """model -> its checkpoint, for each model that is to run."""
    if substitute is not None and models:
        raise InputError("--substitute stands in for every model, so that --models has no meaning\ngive one of them")
    for path in [*models.values(), *([Path(substitute)] if substitute not in (None, TINY) else [])]:
        require_files(path)
    wanted = [name for name in table.models if name in only or not only]
    if substitute is not None:
        path = tiny_checkpoint(folder / "substitute") if substitute == TINY else Path(substitute)
        return {name: Source(path, substitute=True) for name in wanted}
    nowhere = [name for name in wanted if name not in models and not table.models[name].hub]
    if nowhere and (only or len(nowhere) == len(wanted)):
        raise InputError(
            f"no checkpoint of {', '.join(nowhere)} is public\nname a folder with --models {nowhere[0]}=FOLDER"
        )
    return {
        name: Source(models[name]) if name in models else _downloaded(table, name)
        for name in wanted
        if name not in nowhere
    }


def _downloaded(table: Table, name: str) -> Source:
    """The snapshot of a model on the hub; a file that is there already is not downloaded again."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    model = table.models[name]
    try:
        path = Path(snapshot_download(model.hub, revision=model.revision, ignore_patterns=list(SKIPPED_FILES)))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise InputError(
            f"the hub does not give {model.hub} at {model.revision}: {' '.join(str(error).split())[:160]}\n"
            f"check the network and HF_HUB_OFFLINE, name a folder with --models {name}=FOLDER,\n"
            "or run the whole path without the models by --substitute tiny"
        ) from None
    return Source(path, hub=model.hub, commit=path.name)
