"""Measures what the co-activation graph of the paper sees and what it does not, on random logits.

    python -m gldbench.benches.graph_facts

Five facts are measured on `--draws` pairs of random sequences, and each row holds the largest value over the draws:

- gauge: a constant is added to all logits of a position, which changes no probability. How far does gld move, relative
  to the sum of the node features?
- collapse: how far are the node features from the mean probability of each rank (softmax over the kept k), or from 0
  (standardised over the kept k), relative to the largest feature of the logits themselves?
- order: in what share of the positions does sorting the node features change their order?
- names: the source's vocabulary ids are permuted. How far does each loss move, relative to its value?
- gradient: the largest norm of the gradient of a loss, divided by its number of units, with respect to the pivot's D
  logits at each position, where no logit exceeds R.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gldbench.benches.command_line import Script
from gldbench.benches.write_rows import as_json, row, write
from gldbench.schema import Row
from gldfusion.graph import node_features
from gldfusion.losses import Loss, make_loss
from gldfusion.signals import PivotSignal, Signal

FACTS = Path("reports/claims")
VALUES = ("raw", "logprob", "standard", "softmax")
SHIFT = 5.0
"""what is added to all logits of a position"""
NAMELESS: dict[str, tuple[str, dict[str, Any]]] = {
    "uld": ("uld", {}),
    "uld_topk": ("uld_topk", {}),
    "gld, rank nodes": ("gld", {}),
    "gld, vocabulary nodes": ("gld", {"nodes": "vocab", "values": "softmax"}),
    "minced": ("minced", {}),
    "kl": ("kl", {}),
}
"""name in the rows -> loss and options, for the fact "names" """
RADII = (1.0, 2.0, 4.0, 8.0, 16.0)
DIMENSIONS = (8, 64, 512)
NORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "gld": ("gld", {"values": "raw"}),
    "uld": ("uld", {}),
    "kl": ("kl", {}),
}
"""name in the rows -> loss and options, for the fact "gradient"; gld has raw logits as node values, as in the paper"""


def signal(logits: Tensor, k: int) -> PivotSignal:
    """Everything that the losses of this bench read, from logits [B, T, V]. The label of each position is token 0."""
    values, ids = logits.topk(k)
    lse = logits.logsumexp(-1)
    return PivotSignal(
        values=values,
        mask=torch.ones(logits.shape[:2], dtype=torch.bool),
        ids=ids,
        mapped=ids,
        lse=lse,
        mean=logits.mean(-1),
        std=logits.std(-1, unbiased=False),
        nll=lse - logits[..., 0],
        labels=torch.zeros(logits.shape[:2], dtype=torch.long),
        logits=logits,
    )


def draw(shape: tuple[int, int, int], seed: int) -> Tensor:
    """Random logits [B, T, V] in float64."""
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pairs_of(logits: Tensor) -> Tensor:
    """Pairs [B, T, 2] that join equal positions."""
    places = torch.arange(logits.shape[1]).expand(logits.shape[:2])
    return torch.stack([places, places], -1)


def gauge(logits: Tensor, k: int, values: str) -> float:
    """The loss gld between a sequence and the same sequence with a constant added, relative to its features."""
    loss = make_loss("gld", {"values": values})
    moved = loss(signal(logits, k), signal(logits + SHIFT, k), None)
    size = node_features(logits.topk(k).values, aggregate="mean").abs().sum()
    return float(moved / size)


def collapse(logits: Tensor, k: int, values: str) -> float:
    """How far the features of softmaxed (standardised) logits are from what holds no graph: mean probabilities (0)."""
    kept = logits.topk(k).values
    if values == "softmax":
        z = kept.softmax(-1)
        trivial = z.mean(-2) / k
    else:
        centred = kept - kept.mean(-1, keepdim=True)
        z = centred / centred.square().mean(-1, keepdim=True).sqrt()
        trivial = torch.zeros_like(kept[..., 0, :])
    features, plain = (node_features(values, aggregate="mean") for values in (z, kept))
    return float((features - trivial).abs().max() / plain.abs().max())


def order(logits: Tensor, k: int, values: str) -> float:
    """The share of the nodes that sorting moves, where rank nodes hold values of one sign."""
    kept = logits.topk(k).values
    z = kept.softmax(-1) if values == "softmax" else kept - logits.logsumexp(-1, keepdim=True)
    f = node_features(z, aggregate="mean")
    by_size = f.argsort(dim=-1, descending=values == "softmax", stable=True)
    return float((by_size != torch.arange(k)).double().mean())


def names(pivot: Tensor, source: Tensor, k: int, loss: Loss) -> float:
    """How far the loss moves when one permutation renames all ids of the source, relative to its value."""
    renamed = source[..., torch.randperm(source.shape[-1], generator=torch.Generator().manual_seed(0))]
    pairs = pairs_of(pivot)
    before, after = (loss(signal(pivot, k), signal(other, k), pairs) for other in (source, renamed))
    return float((after - before).abs() / before.abs())


def gradient_at(logits: Tensor, k: int, source: Signal, pairs: Tensor, loss: Loss) -> Tensor:
    """The gradient of a loss, divided by its number of units, with respect to the pivot's logits.

    Args:
        logits: of the pivot: [B, T, V].
        k: number of largest logits that the loss sees.
        source: the signal of the source.
        pairs: [B, P, 2], as in `Loss.__call__`.
        loss: the loss.

    Returns:
        [B, T, V].
    """
    at = logits.detach().requires_grad_()
    ours = signal(at, k)
    mean = loss(ours, source, pairs) / loss.count(ours.mask, source.mask, pairs)
    return torch.autograd.grad(mean, at)[0]


def gradient(pivot: Tensor, source: Tensor, radius: float, loss: Loss) -> float:
    """The norm of the loss's gradient where both models keep all logits and none exceeds `radius`."""
    one, other = (logits * (radius / logits.abs().amax((-2, -1), keepdim=True)) for logits in (pivot, source))
    return float(gradient_at(one, one.shape[-1], signal(other, other.shape[-1]), pairs_of(one), loss).norm())


def measure(draws: int, positions: int, vocabulary: int, k: int) -> Iterator[Row]:
    """All rows."""
    shape = (1, positions, vocabulary)
    several = [(draw(shape, 2 * i), draw(shape, 2 * i + 1)) for i in range(draws)]

    def worst(fact: str, variant: str, subject: str, value: Callable[[Tensor, Tensor], float], unit: str = "1") -> Row:
        return row(fact, variant, subject, "largest", max(value(*pair) for pair in several), unit)

    size = f"T={positions} V={vocabulary} k={k} draws={draws}"
    for values in VALUES:
        yield worst("gauge", size, values, lambda z, _, v=values: gauge(z, k, v))
    for values in ("softmax", "standard over k"):
        yield worst("collapse", size, values, lambda z, _, v=values: collapse(z, k, v))
    for values in ("softmax", "logprob"):
        yield worst("order", size, values, lambda z, _, v=values: order(z, k, v))
    for name, (loss, options) in NAMELESS.items():
        made = make_loss(loss, options)
        yield worst("names", size, name, lambda z, y, of=made: names(z, y, k, of))
    for dimension in DIMENSIONS:
        several = [
            (draw((1, positions, dimension), 2 * i), draw((1, positions, dimension), 2 * i + 1)) for i in range(draws)
        ]
        for radius in RADII:
            for name, (loss, options) in NORMED.items():
                made = make_loss(loss, options)
                size = f"R={radius:g} D={dimension}"
                yield worst("gradient", size, name, lambda z, y, r=radius, of=made: gradient(z, y, r, of))


def _script() -> Script:
    script = Script("graph_facts", __doc__)
    script.whole("--draws", 20, "Pairs of sequences.", quick=2)
    script.whole("--positions", 32, "Positions T of a sequence.", quick=4)
    script.whole("--vocabulary", 200, "Entries V of the vocabulary.")
    script.whole("--k", 10, "Number of largest logits to keep per position.")
    script.output(FACTS)
    return script


def _work(given: Namespace) -> int:
    rows = [replace(one, suite="claims") for one in measure(given.draws, given.positions, given.vocabulary, given.k)]
    path = given.output and write(rows, given.output, "graph_facts", threads=1, quick=given.quick)
    if given.json:
        print(json.dumps({"rows": as_json(rows), "file": path and str(path)}, indent=2))
        return 0
    for one in rows:
        print(f"{one.task:10} {one.variant:28} {one.subject:24} {one.value:.3g}")
    if path:
        print(path)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; returns the exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
