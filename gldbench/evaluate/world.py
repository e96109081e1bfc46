"""Evaluates checkpoints on the embedded world: its instances become items, which are asked and graded as usual."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from gldbench.generate.checkpoint import open_checkpoint
from gldbench.generate.generate import responses_for
from gldbench.grade.rows import RowLabels, grade
from gldbench.schema import Item, Row, Task
from gldbench.store import Store
from gldbench.tasks import load_task
from gldbench.worlds.families.family import Instance
from gldfusion.errors import InputError
from gldfusion.progress import Progress
from gldfusion.reading import plain_line, read_json_lines, read_object

TRAINING_LOG = "training_log.jsonl"
TRAINING_TOTALS = "training_totals.json"
UNITS = {
    "seconds": "s",
    "peak_memory_bytes": "B",
    "cache_bytes": "B",
    "tokens": "tokens",
    "flops": "FLOP",
    "source_seconds": "s",
    "source_tokens": "tokens",
    "source_flops": "FLOP",
    "truncated_examples": "examples",
    "dropped_examples": "examples",
    "examples_with_special_tokens": "examples",
    "coverage": "fraction",
    "padding_share": "fraction",
    "validation/loss": "nats per token",
    "gradient_share": "fraction",
    "loss/sft": "nats per token",
    "loss/kl": "nats per token",
    "loss/uld": "per paired position",
    "loss/gld": "per sequence",
}


def task_of(family: str, max_tokens: int) -> Task:
    """Reads the task of a procedural family, and gives it the token limit of the experiment."""
    task = load_task(f"world_{family}")
    return dataclasses.replace(task, generation=dataclasses.replace(task.generation, max_tokens=max_tokens))


def work_of(sets: Mapping[str, Sequence[Instance]], max_tokens: int) -> list[tuple[Task, list[Item]]]:
    """Makes the items of each set and family, in the given order. The `variant` of an item is the name of its set.

    Args:
        sets: name of a set -> its instances.
        max_tokens: token limit of an answer.
    """
    work: dict[tuple[str, str], tuple[Task, list[Item]]] = {}
    for name, instances in sets.items():
        for instance in instances:
            key = (name, instance.family)
            if key not in work:
                work[key] = (task_of(instance.family, max_tokens), [])
            work[key][1].append(_item(instance, name))
    return list(work.values())


def _item(instance: Instance, variant: str) -> Item:
    return Item(
        task=f"world_{instance.family}",
        variant=variant,
        item_id=instance.id,
        prompt=instance.prompt,
        target=instance.answer,
        cluster=instance.family,
        tests=instance.tests,
        entry="f" if instance.tests else "",
    )


def evaluate_world(
    checkpoint: Path,
    work: Sequence[tuple[Task, list[Item]]],
    store: Store,
    labels: RowLabels,
    batch_size: int,
    progress: Progress,
) -> list[Row]:
    """Asks one checkpoint the items of `work` and grades its responses; returns the rows.

    Args:
        checkpoint: folder of the checkpoint.
        work: tasks with their items.
        store: keeps the responses, so that none is generated twice.
        labels: what all rows have in common.
        batch_size: most sequences in a batch.
        progress: called with (responses that are done, responses in all).
    """
    answered = responses_for(
        open_checkpoint(checkpoint),
        work,
        store,
        subject=labels.subject,
        batch_size=batch_size,
        progress=progress,
    )
    rows, start = [], 0
    for task, items in work:
        rows += grade(task, items, answered.responses[start : start + len(items)], labels)
        start += len(items)
    return rows


def training_rows(checkpoint: Path, labels: RowLabels) -> list[Row]:
    """Reads the training log of a checkpoint: rows for each step, and rows for the totals.

    Raises:
        InputError: the log or the totals are missing or damaged.
    """
    mend = "delete the folder of the checkpoint and run the same command again"
    entries = read_json_lines(checkpoint / TRAINING_LOG, "training log", mend)
    values: list[tuple[str, str, float]] = []
    try:
        for entry in entries:
            step = str(entry["step"])
            values += [(step, "loss", entry["loss"]), (step, "learning_rate", entry["learning_rate"])]
            values += [(step, f"loss/{name}", value) for name, value in _by_loss(entry["terms"]).items()]
            shares = _by_loss(entry["gradient_share"])
            values += [(step, f"gradient_share/{name}", value) for name, value in shares.items()]
            values += [(step, f"validation/{name}", value) for name, value in entry.get("validation", {}).items()]
        totals = {"inference_models": 1} | read_object(checkpoint / TRAINING_TOTALS, "totals of a training", mend)
        values += [("total", name, float(value)) for name, value in totals.items() if value is not None]
        return [_training_row(labels, item, metric, float(value)) for item, metric, value in values]
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"the training log of {checkpoint} has another form: {plain_line(error)}\n{mend}") from None


def cache_row(cache: Path, labels: RowLabels) -> Row:
    """The size of the stored logits of a source, as a row beside the totals of its training."""
    size = sum(path.stat().st_size for path in cache.iterdir() if path.is_file())
    return _training_row(labels, "total", "cache_bytes", float(size))


def _by_loss(terms: dict[str, float]) -> dict[str, float]:
    """Sums the terms, which are named "<source>/<loss>", over the sources."""
    out: dict[str, float] = {}
    for name, value in terms.items():
        loss = name.rpartition("/")[2]
        out[loss] = out.get(loss, 0.0) + value
    return out


def _training_row(labels: RowLabels, item: str, metric: str, value: float) -> Row:
    unit = UNITS.get(metric, UNITS.get(metric.partition("/")[0], ""))
    place = dataclasses.replace(labels, suite="training")
    return Row(
        **dataclasses.asdict(place),
        task="fusion",
        task_version=1,
        variant="",
        item=item,
        cluster="",
        grader="",
        filter="",
        metric=metric,
        value=value,
        unit=unit,
        status="ok",
        reason="",
    )
