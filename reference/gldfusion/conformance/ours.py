"""The losses of this package as subjects. They run through the same alignment and collation as in training."""

from __future__ import annotations

import torch
from torch import Tensor

from gldfusion.align import Encoded, pair, with_end
from gldfusion.conformance.cases import IGNORE, Case, Side
from gldfusion.conformance.checks import Subject
from gldfusion.data import as_array
from gldfusion.inputs import Inputs, collate, pad
from gldfusion.losses import LOSSES, Loss, make_loss
from gldfusion.signals import PivotSignal

K = 5


def subject(name: str, loss: Loss | None = None, k: int = K) -> Subject:
    """Wraps a loss of this package.

    Args:
        name: its name in `LOSSES`.
        loss: the loss. None: the one called `name`, with its default options.
        k: number of largest logits that it reads.
    """
    loss = loss or make_loss(name)
    return Subject(
        name,
        lambda case: _run(loss, case, k),
        lambda case: _count(loss, case),
        reads_source=loss.needs_source,
        reads_labels=name in ("sft", "minced"),
        sees_ids=name in ("kl", "minced", "gkd", "gld_local", "shared_kd", "gold", "xtoken"),
    )


def subjects() -> list[Subject]:
    """All entries of LOSSES, and some with other options."""
    variants = {
        "gld vocab": ("gld", {"nodes": "vocab", "values": "softmax"}),
        "gld_local all": ("gld_local", {"window": "all", "form": "features", "values": "prob"}),
        "gld_local blind": ("gld_local", {"labelled": False}),
        "gold first": ("gold", {"merge": "first"}),
        "xtoken hkl": ("xtoken", {"form": "hkl"}),
    }
    named = [subject(name, make_loss(*loss)) for name, loss in variants.items()]
    return [*(subject(name) for name in LOSSES), *named]


def signal_of(logits: Tensor, mask: Tensor, labels: Tensor, k: int) -> PivotSignal:
    """A signal with everything that a loss can read. Pivot and source have the same vocabulary.

    Args:
        logits: [B, T, V].
        mask: [B, T].
        labels: [B, T], the labels that the logits predict.
        k: number of largest logits to keep.
    """
    values, ids = logits.topk(min(k, logits.shape[-1]), -1)
    lse = logits.logsumexp(-1)
    return PivotSignal(
        values=values,
        ids=ids,
        mapped=ids,
        projected=ids,
        shares=torch.ones_like(values),
        mask=mask,
        lse=lse,
        mean=logits.mean(-1),
        std=logits.std(-1, correction=0),
        nll=lse - logits.gather(-1, labels[..., None]).squeeze(-1),
        labels=labels,
        logits=logits,
    )


def _encoded(side: Side) -> list[Encoded]:
    """The rows, as `align.encode` would return them."""
    out = []
    for ids, labels, offsets in zip(side.ids, side.labels, side.offsets, strict=True):
        places = (labels != IGNORE).nonzero().flatten().tolist()
        out.append(Encoded(ids[: places[-1] + 1].tolist(), places[0], offsets[places, 0].tolist(), False))
    return out


def _read(side: Side, inputs: Inputs, k: int) -> PivotSignal:
    rows = torch.arange(len(inputs.positions))[:, None]
    return signal_of(side.logits[rows, inputs.positions], inputs.mask, inputs.labels, k)


def _aligned(case: Case) -> tuple[Inputs, Inputs, Tensor]:
    ours, theirs = _encoded(case.pivot), _encoded(case.source)
    pairs = [with_end(pair(a.starts, b.starts), a, b.starts) for a, b in zip(ours, theirs, strict=True)]
    return collate(ours), collate(theirs), pad([as_array(p) for p in pairs], -1)


def _run(loss: Loss, case: Case, k: int) -> Tensor:
    ours, theirs, pairs = _aligned(case)
    source = _read(case.source, theirs, k) if loss.needs_source else None
    return loss(_read(case.pivot, ours, k), source, pairs)


def _count(loss: Loss, case: Case) -> int:
    ours, theirs, pairs = _aligned(case)
    return loss.count(ours.mask, theirs.mask, pairs)
