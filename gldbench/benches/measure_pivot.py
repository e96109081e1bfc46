"""What `along_training` measures of one pivot on a fixed set of texts: distances of graphs, and gradients of losses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gldbench.benches.graph_facts import NORMED, gradient_at, signal
from gldbench.gw.claims import FORMS
from gldbench.gw.families.logits import Values, graph_of
from gldbench.gw.measure import absolute_bounds
from gldbench.gw.problem import Problem
from gldbench.gw.solve import solve
from gldbench.worlds.build import read_set
from gldfusion.data import Batch, FusionData
from gldfusion.errors import InputError
from gldfusion.losses import make_loss
from gldfusion.model import SignalModel, load_model, load_tokenizer
from gldfusion.signals import Signal, valid_pairs
from gldfusion.sources import Example, LiveSource, SequenceSignal

NODE_VALUES: tuple[Values, ...] = ("logprob", "raw")
"""node values of the graphs: those of the loss gld by default, and those of the paper"""
NOISES = (0.0, 0.1, 0.3, 1.0, 3.0)
"""standard deviations of the noise that is added to the pivot's logits"""
CERTIFIED = ("flb", "anova", "slb", "proj", "tlb", "sorted", "sorted_cg", "sorted_two_opt", "exact")
"""solvers of `gldbench gw` whose bounds make the interval around GW_2^2"""
SECONDS = 20.0
"""time limit of one search for the exact value; graphs of ten nodes take a tenth of a second"""
ROUNDING = 1e-9
"""relative tolerance for a value at an end of an interval"""

Numbers = dict[tuple[str, str, str, str], float]
"""(task, variant, subject, metric) of a row -> value"""


@dataclass(frozen=True, eq=False)
class Texts:
    """A fixed set of texts that all sources have read."""

    batches: tuple[Batch, ...]
    """one for each text; the sources' signals are in float64"""
    same: frozenset[str]
    """the sources that have the pivot's vocabulary"""
    k: int
    """number of largest logits that the losses see"""


@dataclass(frozen=True)
class Distance:
    """gGW between two graphs, and certified intervals of the exact distances."""

    ggw: Mapping[str, float]
    """ "ggw_sum", the loss gld, and "ggw_mean", which is ggw_sum divided by the number of nodes"""
    ends: Mapping[str, tuple[float, float]]
    """GW_1, GW_2 and GW_2^2 -> lower and upper bound"""

    def gap(self, form: str, normalisation: str) -> float:
        """How far gGW is above the upper bound, or (negative) below the lower bound; 0 inside the interval."""
        (low, high), estimate = self.ends[form], self.ggw[normalisation]
        rounding = ROUNDING * max(1.0, high, estimate)
        if low - rounding <= estimate <= high + rounding:
            return 0.0
        return estimate - high if estimate > high else estimate - low


def read_texts(world: Path, sources: Sequence[str], k: int, max_length: int, count: int) -> Texts:
    """Reads texts of the validation set, spread evenly over it, and runs the sources on them.

    Args:
        world: folder of the world.
        sources: names of the sources.
        k: number of largest logits that are kept of the sources.
        max_length: largest number of tokens of a text.
        count: number of texts.

    Raises:
        InputError: the set has fewer texts that all models can read.
    """
    tokenizer = load_tokenizer(world / "models" / "pivot")
    examples = [Example(one.id, one.prompt, one.response) for one in read_set(world, "validation")]
    live = [LiveSource(name, world / "models" / name, k, max_length) for name in sources]
    data = FusionData.of(examples, tokenizer, max_length, live)
    if len(data.usable) < count:
        raise InputError(
            f"--sequences: expected at most {len(data.usable)}, the number of texts in the validation set, got {count}"
        )
    chosen = data.usable[np.arange(count) * len(data.usable) // count].tolist()
    batches = [_in_float64(data.batch([i])) for i in chosen]
    for i, batch in zip(chosen, batches, strict=True):
        for name, (theirs, pairs) in batch.sources.items():
            if not bool(valid_pairs(batch.inputs.mask, theirs.mask, pairs).any()):
                raise InputError(f"validation text {examples[i].id}: no position of the pivot is paired with {name}")
    same = frozenset(one.name for one in live if one.vocabulary_hash == data.vocabulary_hash)
    return Texts(tuple(batches), same, k)


def _in_float64(batch: Batch) -> Batch:
    sources = {name: (theirs.as_dtype(torch.float64), pairs) for name, (theirs, pairs) in batch.sources.items()}
    return Batch(batch.inputs, sources)


def measure_pivot(checkpoint: Path, texts: Texts) -> Numbers:
    """All numbers of one pivot: means and extremes over the texts."""
    logits, nll = read_pivot(checkpoint, texts)
    found: Numbers = {("validation", "all texts", "labels", "nll"): nll}
    for source in texts.batches[0].sources:
        for values in NODE_VALUES:
            measured = [
                distance(signal(one, texts.k), batch.sources[source][0], values)
                for one, batch in zip(logits, texts.batches, strict=True)
            ]
            found |= {("distance", source, values, name): value for name, value in _summary(measured)}
        found |= gradients(logits, texts, source)
    return found


@torch.no_grad()
def read_pivot(checkpoint: Path, texts: Texts) -> tuple[list[Tensor], float]:
    """All logits of a pivot at the labelled positions of each text, and the mean loss of the labels in nats.

    Returns:
        For each text [1, T, V] in float64; the loss.
    """
    model = SignalModel(load_model(checkpoint), None)
    found, nll, labels = [], 0.0, 0
    for batch in texts.batches:
        kept = model(batch.inputs)
        values = kept.values.double()
        found.append(torch.zeros_like(values).scatter(-1, kept.need("ids"), values))
        nll, labels = nll + float(kept.nll.double().sum()), labels + int(kept.mask.sum())
    return found, nll / labels


def distance(pivot: Signal, source: Signal, values: Values) -> Distance:
    """gGW between the graphs of one text as the loss gld computes it, and intervals of the exact distances.

    Args:
        pivot: fields [1, T, ...], without masked positions.
        source: fields [1, T_s, ...], without masked positions.
        values: the node values.
    """
    problem = Problem(*(graph_of(_sequence(one), "rank", values) for one in (pivot, source)))
    found = solve(problem, CERTIFIED, SECONDS)
    low, high = found["interval"]
    scaled, divisor = problem.scaled_exactly()
    absolute = absolute_bounds(scaled, found["ggw_mean"] / divisor, [])
    ends = {
        "GW_1": (absolute["gw1_lower"] * divisor, absolute["gw1_upper"] * divisor),
        "GW_2": (low**0.5, high**0.5),
        "GW_2^2": (low, high),
    }
    return Distance({name: found[name] for name in ("ggw_sum", "ggw_mean")}, ends)


def _sequence(one: Signal) -> SequenceSignal:
    """The only text of a signal."""
    held = {name: cast(Tensor, getattr(one, name))[0].numpy() for name in ("values", "lse", "mean", "std")}
    return SequenceSignal(**held, ids=None, starts=np.full(one.values.shape[1], -1))


def _summary(measured: Sequence[Distance]) -> Iterator[tuple[str, float]]:
    """The metrics of the distances of all texts."""
    for name in measured[0].ggw:
        yield name, float(np.mean([one.ggw[name] for one in measured]))
    for form in FORMS:
        for place, end in enumerate(("lower", "upper")):
            yield f"{form} {end}", float(np.mean([one.ends[form][place] for one in measured]))
        for name in measured[0].ggw:
            gaps = np.array([one.gap(form, name) for one in measured])
            yield f"{name} from {form}", float(gaps.mean())
            yield f"{name} from {form}, largest", float(np.abs(gaps).max())
            yield f"{name} inside {form}", float((gaps == 0).mean())


def gradients(logits: Sequence[Tensor], texts: Texts, source: str) -> Numbers:
    """The gradients of the losses at the logits, and at the logits with noise. kl needs the pivot's vocabulary.

    For a noise e, "change" is |gradient at x + e - gradient at x| / |e|. The noise of a text is the same in all calls,
    but for its standard deviation. "ordered" is the share of the texts in which the norms have the paper's order.
    """
    losses = {name: make_loss(*of) for name, of in NORMED.items() if name != "kl" or source in texts.same}
    norms, changes = (
        defaultdict[tuple[float, str], list[float]](list),
        defaultdict[tuple[float, str], list[float]](list),
    )
    for number, (at, batch) in enumerate(zip(logits, texts.batches, strict=True)):
        unit = torch.randn(at.shape, dtype=at.dtype, generator=torch.Generator().manual_seed(number))
        for name, loss in losses.items():
            here = gradient_at(at, texts.k, *batch.sources[source], loss)
            for noise in NOISES:
                there = gradient_at(at + noise * unit, texts.k, *batch.sources[source], loss) if noise else here
                norms[noise, name].append(float(there.norm()))
                if noise:
                    changes[noise, name].append(float((there - here).norm() / (noise * unit).norm()))
    found: Numbers = {}
    for what, held in (("gradient", norms), ("change", changes)):
        for (noise, name), values in held.items():
            variant = variant_of(source, noise)
            found |= {
                (what, variant, name, "mean"): float(np.mean(values)),
                (what, variant, name, "largest"): max(values),
            }
    for noise in NOISES:
        rising = np.diff([norms[noise, name] for name in losses], axis=0) > 0
        found["order", variant_of(source, noise), " < ".join(losses), "ordered"] = float(rising.all(0).mean())
    return found


def variant_of(source: str, noise: float) -> str:
    """The variant of a row about gradients."""
    return f"{source} noise={noise:g}"
