"""Pairwise fusion: the pivot is distilled from each source on its own, and the results are merged.

Yan et al., InfiFusion: A Unified Framework for Enhanced Cross-Model Reasoning via LLM Fusion (2025), arXiv:2501.02795.
The paper's first version merges with a rule of its own; this is the weighted mean of the weights. All trainings start
from the pivot, so the results have one base.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from gldbench.jobs import intact
from gldbench.methods import train
from gldbench.methods.method import Method
from gldbench.methods.soup import average
from gldbench.methods.weights import Cost, check_weights, read_alike, shares_of, write_merged
from gldbench.spec import MethodSpec, Spec
from gldfusion.errors import InputError
from gldfusion.files import remove
from gldfusion.paths import hidden
from gldfusion.progress import Progress
from gldfusion.reading import read_object
from gldfusion.recipe import Model

KEPT = ("fusion.json", "training_log.jsonl", "training_totals.json")
"""the files of each distilled checkpoint that the merged one keeps, in `parts/<source>`"""


class PairwiseOptions(Model):
    """Options of `pairwise`."""

    weights: dict[str, float] = Field(default_factory=dict)
    """name of a source -> weight of the checkpoint that was distilled from it; they are divided by their sum. Default:
    all equal"""


def check(spec: Spec, method: MethodSpec) -> None:
    """Checks that there are terms and at least two sources, and that the weights name the sources.

    Raises:
        InputError: there are not.
    """
    train.check(spec, method)
    if not method.terms:
        raise InputError("pairwise distils each source with `terms`, and there are none\ngive at least one term")
    names = train.sources_of(spec, method)
    if len(names) < 2:
        raise InputError(
            f"pairwise needs at least two sources, got {', '.join(names) or 'none'}\n"
            "name another one, or use the kind train"
        )
    check_weights(PairwiseOptions.model_validate(method.options).weights, names)


def make_pairwise(
    spec: Spec, method: MethodSpec, world: Path, data: Path, seed: int, output: Path, progress: Progress
) -> Path:
    """Trains one checkpoint for each source, then merges them. A killed call goes on with the checkpoint it was at."""
    if not method.terms:  # a trial of the weight 0
        return train.train(spec, method, world, data, seed, output, progress)
    names, parts = train.sources_of(spec, method), hidden(output, "parts")
    folders = {name: parts / name for name in names}
    for place, (name, folder) in enumerate(folders.items()):
        if not intact(folder, "distilled checkpoint"):
            alone = method.model_copy(update={"sources": (name,)})
            train.train(spec, alone, world, data, seed, folder, partial(_report, progress, place, len(names)))
    cost = Cost()
    models, tokenizer = read_alike(folders)
    shares = shares_of(PairwiseOptions.model_validate(method.options).weights, names)
    listed = ", ".join(f"{share:g} x `{name}`" for name, share in shares.items())
    write_merged(
        average(models, shares),
        tokenizer,
        output,
        how=f"Pairwise fusion (arXiv:2501.02795): the pivot distilled from each source alone, then averaged: {listed}.",
        settings={"kind": "pairwise", "shares": shares},
        parts=folders,
        totals=_totals(cost, folders),
        add={f"parts/{name}/{file}": (folder / file).read_text() for name, folder in folders.items() for file in KEPT},
    )
    remove(parts)
    return output


def _report(progress: Progress, place: int, sources: int, done: int, steps: int) -> None:
    progress(place * steps + done, sources * steps)


def _totals(cost: Cost, folders: Mapping[str, Path]) -> dict[str, Any]:
    """What all trainings and the merging cost together. Trainings of an earlier, killed call count too."""
    mend = "delete the folder and run the same command again"
    trained = [read_object(path / "training_totals.json", "totals of a training", mend) for path in folders.values()]
    own = cost.totals()
    peaks = [peak for one in (own, *trained) if (peak := one["peak_memory_bytes"]) is not None]
    summed = {name: sum(one[name] for one in (own, *trained)) for name in ("seconds", "tokens", "flops")}
    return own | summed | {"peak_memory_bytes": max(peaks, default=None)}


METHOD = Method(make=make_pairwise, inputs=train.inputs, options=PairwiseOptions, check=check)
