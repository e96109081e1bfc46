"""Evaluations of the pivot while it is trained, and the checkpoint of the best one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import nn

from gldfusion.data import FusionData
from gldfusion.errors import InputError
from gldfusion.export import save_model
from gldfusion.files import remove, write_json
from gldfusion.manifest import flush, sealed_dir, verify_manifest
from gldfusion.model import SignalModel
from gldfusion.prepare import Fusion
from gldfusion.progress import Watch
from gldfusion.sharding import gather_nothing
from gldfusion.state import BEST, Entry, Log
from gldfusion.trained import Trained, collect

LOSS = "loss"
"""the name of the validation loss among the scores"""
BATCH = 16
"""texts in a forward pass of the validation, if the recipe names no micro_batch_size"""


def evaluation_due(fusion: Fusion, step: int) -> bool:
    """Whether the pivot is evaluated after a step, which is counted from 1."""
    every = fusion.recipe.train.evaluate_every
    return bool(every) and (step % every == 0 or step == fusion.steps)


def require_something(fusion: Fusion, watch: Watch) -> None:
    """Checks that an evaluation has something to measure.

    Raises:
        InputError: `evaluate_every` is set, but there are neither validation texts nor tasks.
    """
    if fusion.recipe.train.evaluate_every and fusion.validation is None and watch.evaluate is None:
        raise InputError(
            "train.evaluate_every is set, but there is nothing to evaluate on\n"
            "name texts with the recipe key `validation`, or tasks with `--tasks`"
        )


def evaluate(fusion: Fusion, watch: Watch, log: Log, entry: Entry) -> None:
    """Evaluates the pivot, adds "validation" and "best" to the entry, and keeps the checkpoint if it is the best.

    The best checkpoint has the highest mean score of the tasks or, without tasks, the lowest validation loss. All
    processes must call this.

    Args:
        fusion: the training.
        watch: may score a checkpoint on tasks.
        log: the entries before this one.
        entry: the entry of the step that was just done.
    """
    scores = {} if fusion.validation is None else {LOSS: validation_loss(fusion, fusion.validation)}
    trained = collect(fusion)
    if fusion.accelerator.is_main_process:
        folder = fusion.state / f"evaluated-{entry['step']}"
        earlier = [e["validation"] for e in log if "validation" in e]
        if watch.evaluate is not None:
            _save(fusion, trained, folder)
            scores |= watch.evaluate(folder)
        entry["validation"] = scores
        comparable = [_quality(past) for past in earlier if past.keys() == scores.keys()]
        entry["best"] = all(_quality(scores) > past for past in comparable)
        if entry["best"]:
            _save(fusion, trained, folder)
            write_json(folder / "evaluation.json", {"step": entry["step"], "scores": scores})
            remove(fusion.state / BEST)
            os.rename(folder, fusion.state / BEST)
            flush(fusion.state)
        remove(folder)
    fusion.accelerator.wait_for_everyone()


@torch.no_grad()
def validation_loss(fusion: Fusion, data: FusionData) -> float:
    """The mean cross-entropy on the labels of texts that are not trained, in nats. The processes share the texts."""
    accelerator = fusion.accelerator
    model = cast(nn.Module, accelerator.unwrap_model(fusion.model))
    order = sorted(data.usable.tolist(), key=lambda i: -data.texts.lengths[i])
    mine = order[accelerator.process_index :: accelerator.num_processes]
    size = fusion.recipe.train.micro_batch_size or BATCH
    sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    most = -(-len(order) // accelerator.num_processes)  # all processes need as many passes: a sharded model is fetched
    for first in range(0, most, size):
        chosen = mine[first : first + size]
        signal = model(data.batch(chosen or order[-1:]).inputs.to(accelerator.device))
        sums += bool(chosen) * torch.stack([signal.nll.double().sum(), signal.mask.double().sum()])
    if fusion.sharded:
        gather_nothing(cast(SignalModel, model).model)
    nll, labels = cast(torch.Tensor, accelerator.reduce(sums, "sum")).tolist()
    return nll / labels


def copy_best(fusion: Fusion, output: Path) -> None:
    """Puts the best checkpoint into the folder `best` of an output, if there was an evaluation.

    Raises:
        InputError: a file of it is damaged.
    """
    best = fusion.state / BEST
    if not best.is_dir():
        return
    verify_manifest(best, "the best checkpoint", f"delete {best} and run the same command again to go on without it")
    shutil.copytree(best, output / BEST, copy_function=os.link)  # the states are deleted afterwards


def _quality(scores: Mapping[str, float]) -> float:
    """The larger, the better."""
    tasks = [value for name, value in scores.items() if name != LOSS]
    return sum(tasks) / len(tasks) if tasks else -scores[LOSS]


def _save(fusion: Fusion, trained: Trained, folder: Path) -> None:
    """Writes a checkpoint of the pivot, unless it was just written."""
    if folder.is_dir():
        return
    with sealed_dir(folder) as temporary:
        save_model(trained, fusion.tokenizer, temporary)
