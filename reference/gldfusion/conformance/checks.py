"""The checks, one for each trap that was found in implementations of distillation losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gldfusion.conformance.cases import IGNORE, PREFIX, Case, Side, different, identical

TOLERANCE = 1e-7
"""largest difference that counts as rounding, for float64 values near 1. Padding with logits of -1e4 and buckets of eps
stay far below it"""
VISIBLE = 1e-6
"""smallest difference that counts as an effect"""


class CheckError(AssertionError):
    """A loss does not pass a check. The message says what was found."""


@dataclass(frozen=True)
class Subject:
    """A loss to be checked."""

    name: str
    run: Callable[[Case], Tensor]
    """computes the sum over the units of a batch, a scalar with gradient to the pivot's logits"""
    count: Callable[[Case], int]
    """counts the units of a batch"""
    reads_source: bool = True
    """whether the loss reads the source at all"""
    reads_labels: bool = False
    """whether the loss uses the label itself at positions without a source"""
    sees_ids: bool = False
    """whether the value depends on which token is which"""

    def value(self, case: Case) -> float:
        """The value of the loss."""
        return float(self.run(case).detach())

    def gradient(self, case: Case) -> Tensor:
        """The gradient with respect to the pivot's logits: [B, L, V]."""
        logits = case.pivot.logits.clone().requires_grad_()
        value = self.run(replace(case, pivot=replace(case.pivot, logits=logits)))
        return torch.autograd.grad(value, logits, allow_unused=True, materialize_grads=True)[0]


def require(holds: bool, message: str) -> None:
    """Raises a CheckError with this message if the condition does not hold."""
    if not holds:
        raise CheckError(message)


def same(found: float, wanted: float, what: str) -> None:
    """Raises a CheckError if two values differ by more than rounding. `what` names the value."""
    require(abs(found - wanted) <= TOLERANCE * max(1, abs(wanted)), f"{what}: {found:.6g} instead of {wanted:.6g}")


def identical_source(subject: Subject) -> None:
    """A source that equals the pivot must give a loss of 0 and a gradient of 0."""
    same(subject.value(identical()), 0, "loss of an identical source")
    largest = float(subject.gradient(identical()).abs().max())
    require(largest <= TOLERANCE, f"gradient of an identical source is up to {largest:.3g}")


def pivot_shift(subject: Subject) -> None:
    """The pivot's output before the first label must count.

    Its output at the last token must not count, because it predicts nothing.
    """
    case = different()
    size = subject.gradient(case).abs().sum(-1)  # [B, L]
    ends = [labels.nonzero().flatten().tolist() for labels in case.pivot.labels != IGNORE]
    read = max(float(size[row, places[-1]]) for row, places in enumerate(ends))
    require(read <= TOLERANCE, "the output at the last label is read, although it predicts nothing")
    read = max(float(size[row, places[0] - 1]) for row, places in enumerate(ends))
    require(read > VISIBLE, "the outputs that predict the first label are not read")


def source_shift(subject: Subject) -> None:
    """As `pivot_shift`, for the source: changes of these outputs must or must not change the loss."""
    case = different()
    before = subject.value(case)
    ends = [labels.nonzero().flatten().tolist() for labels in case.source.labels != IGNORE]
    last = max(abs(subject.value(_disturbed(case, row, places[-1])) - before) for row, places in enumerate(ends))
    require(last <= TOLERANCE, f"the source's output at the last label changes the loss by {last:.3g}")
    first = max(abs(subject.value(_disturbed(case, row, places[0] - 1)) - before) for row, places in enumerate(ends))
    require(first > VISIBLE, "the source's outputs that predict the first label are not read")


def mask(subject: Subject) -> None:
    """An output that predicts no label must not count: outputs of the prompt and of the padding."""
    case = different()
    size = subject.gradient(case).abs().sum(-1)[~case.pivot.predicting]
    require(float(size.max()) <= TOLERANCE, f"masked outputs of the pivot have gradients up to {float(size.max()):.3g}")
    if subject.reads_source:
        noise = 50 * torch.randn(
            case.source.logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )
        logits = torch.where(case.source.predicting[..., None], case.source.logits, noise)
        spoilt = replace(case, source=replace(case.source, logits=logits))
        same(subject.value(spoilt), subject.value(case), "loss with other masked outputs of the source")


def padding(subject: Subject) -> None:
    """More padding must change neither the sum nor the count."""
    case = different()
    longer = Case(case.pivot.lengthened(3), case.source.lengthened(2))
    same(subject.value(longer), subject.value(case), "loss with more padding")
    require(subject.count(longer) == subject.count(case), "more padding makes more units")


def bos(subject: Subject) -> None:
    """A BOS token and a template before the source's prompts must not change the loss."""
    same(subject.value(different(PREFIX)), subject.value(different()), "loss with a longer prompt on one side")


def gradient(subject: Subject) -> None:
    """The gradient must be that of the reported value, with all its factors."""
    case = different()
    direction = torch.randn(case.pivot.logits.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    step = 1e-6

    def moved(by: float) -> float:
        return subject.value(replace(case, pivot=replace(case.pivot, logits=case.pivot.logits + by * direction)))

    wanted = (moved(step) - moved(-step)) / (2 * step)
    found = float((subject.gradient(case) * direction).sum())
    require(
        abs(found - wanted) <= 1e-4 * max(1e-3, abs(wanted)), f"gradient {found:.6g}, the value changes by {wanted:.6g}"
    )


def split(subject: Subject) -> None:
    """The sums and counts of parts of a batch must add up to those of the batch.

    Otherwise gradient accumulation and data parallelism change the result.
    """
    case = different()
    parts = [case.rows(0), case.rows(1, 2, 3)]
    require(sum(map(subject.count, parts)) == subject.count(case), "counts of parts do not add up")
    same(sum(map(subject.value, parts)), subject.value(case), "sum over parts of a batch")


def padded_vocabulary(subject: Subject) -> None:
    """Output layers that are padded to different sizes, such as 151936 and 152064, must not change the loss."""
    case = different()
    before = subject.value(case)
    same(subject.value(replace(case, source=case.source.widened(3))), before, "loss with a wider source")
    same(subject.value(replace(case, pivot=case.pivot.widened(3))), before, "loss with a wider pivot")


def next_label(subject: Subject) -> None:
    """A loss that uses the label in place of a source must use the next token, not the current one."""
    case = different()
    found = subject.gradient(case)
    label = case.pivot.labels[0, 4]  # byte 1: no token of the source starts there
    rising = (found[0, 3] < -TOLERANCE).nonzero().flatten().tolist()
    require(rising == [int(label)], f"before label {int(label)} the pivot is pushed towards {rising}")


def gauge(subject: Subject) -> None:
    """A constant added to all logits of the source must not change the loss: the distribution is the same."""
    case = different()
    moved = replace(case, source=replace(case.source, logits=case.source.logits + 3))
    same(subject.value(moved), subject.value(case), "loss after adding a constant to the source's logits")


def wide_ids(subject: Subject) -> None:
    """Ids above 2^17 must not be cut to 17 bits."""
    far = 2**17 + 5

    def case(likely: int) -> Case:
        ids = torch.tensor([[1, 2]])
        logits = torch.zeros(1, 2, 2**17 + 8, dtype=torch.float64)
        ours, theirs = logits.clone(), logits.clone()
        ours[..., far], theirs[..., likely] = 20, 20
        common = ids, torch.tensor([[-100, 2]]), torch.tensor([[[0, 0], [0, 1]]])
        return Case(Side(ours, *common), Side(theirs, *common))

    right, wrong = subject.value(case(far)), subject.value(case(5))
    require(right < 0.01, f"a likely id above 2^17 is not recognised: loss {right:.3g}")
    require(wrong > 0.1, f"an id above 2^17 is cut to its lower 17 bits: loss {wrong:.3g}")


def _disturbed(case: Case, row: int, place: int) -> Case:
    logits = case.source.logits.clone()
    logits[row, place] = torch.arange(logits.shape[-1], dtype=logits.dtype) ** 1.5 / 4  # unlike the old logits
    return replace(case, source=replace(case.source, logits=logits))


CHECKS: dict[str, Callable[[Subject], None]] = {
    "identical_source": identical_source,
    "pivot_shift": pivot_shift,
    "source_shift": source_shift,
    "mask": mask,
    "padding": padding,
    "bos": bos,
    "gradient": gradient,
    "split": split,
    "padded_vocabulary": padded_vocabulary,
    "next_label": next_label,
    "gauge": gauge,
    "wide_ids": wide_ids,
}
OF_SOURCES = ("identical_source", "source_shift", "bos", "padded_vocabulary", "gauge")
"""checks that need a loss that reads the source"""


def applies(check: str, subject: Subject) -> bool:
    """Whether a check applies to a loss of this kind."""
    if check == "wide_ids":
        return subject.sees_ids
    if check == "next_label":
        return subject.reads_labels
    return subject.reads_source or check not in OF_SOURCES
