"""Signals: what a model outputs at the labelled positions of a batch, reduced to what the losses use.

The T axis holds labelled positions only, and they are already shifted: row t is the distribution that *predicts* the
t-th label of the response, in the model's own tokenisation (`gldfusion.align.Encoded.predicting`). Shorter sequences
are padded, and the padding is masked. A masked row may hold any value, NaN included: no loss and no gradient sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from gldfusion.errors import InputError

T = TypeVar("T")
END = -2
"""both entries of the row after the last pair of a text that both models read to its end"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Signal:
    """The top-k logits of one model.

    A field that only some losses need is None unless a loss asked for it (`Loss.needs`).
    """

    values: Tensor
    """[B, T, k] the k largest logits, descending"""
    mask: Tensor
    """[B, T] bool, False at padding and at positions without a label"""
    ids: Tensor | None = None
    """[B, T, k] vocabulary ids of `values`"""
    mapped: Tensor | None = None
    """[B, T, k] the ids of the pivot's tokens that `ids` are mapped to (`gldfusion.vocab`); -1 without such a token. In
    the pivot's own signal, for losses with "shared" in `needs`: `ids`, with -1 where no token of the source is mapped
    to the id"""
    projected: Tensor | None = None
    """[B, T, k m] for each of `ids` the m ids of the pivot's tokens whose probability is partly or wholly given to it
    (`gldfusion.projection`); -1 if there are fewer"""
    shares: Tensor | None = None
    """[B, T, k m] the part of the probability of each of `projected` that is given; 0 where that is -1"""
    nll: Tensor | None = None
    """[B, T] negative log-likelihood of the model's own label, in nats"""
    lse: Tensor | None = None
    """[B, T] log-sum-exp of the logits over the whole vocabulary"""
    mean: Tensor | None = None
    """[B, T] mean logit over the whole vocabulary"""
    std: Tensor | None = None
    """[B, T] population standard deviation of the logits over the whole vocabulary"""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Returns the signal with `function` applied to every tensor in it."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(value) for name, value in held.items() if isinstance(value, Tensor)})

    def narrow(self, k: int | None) -> Self:
        """Returns the signal with the k largest logits only. None keeps all of them.

        Raises:
            InputError: the signal holds fewer than k logits.
        """
        if k is None:
            return self
        if k > self.values.shape[-1]:
            raise InputError(
                f"the loss asks for k = {k} logits per position, the signal holds {self.values.shape[-1]}\n"
                "lower the loss's option k, or raise k in the recipe (at most the vocabulary size)"
            )
        held = {name: getattr(self, name) for name in ("values", "ids", "mapped")}
        return replace(self, **{name: tensor[..., :k] for name, tensor in held.items() if tensor is not None})

    def cleared(self) -> Self:
        """Returns the signal with 0 at masked positions, so that they reach neither a value nor a gradient."""
        kept = self.map(lambda tensor: torch.where(self.mask if tensor.ndim == 2 else self.mask[..., None], tensor, 0))
        return replace(kept, mask=self.mask)

    def as_dtype(self, dtype: torch.dtype) -> Self:
        """Returns the signal with its floating-point tensors in `dtype` (caches store float16)."""
        return self.map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def need(self, name: str) -> Tensor:
        """Returns the field called `name`.

        Raises:
            InputError: the signal was made without it.
        """
        tensor: Tensor | None = getattr(self, name)
        if tensor is None:
            raise InputError(
                f"the loss needs `{name}`, but this {type(self).__name__} was made without it\n"
                "make the signal (or build the source cache again) with everything that the loss's `needs` names"
            )
        return tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class PivotSignal(Signal):
    """The pivot's signal. Its floating-point fields carry gradient to the pivot."""

    nll: Tensor = field()  # without `field()` the default of `Signal` would be inherited
    """[B, T] negative log-likelihood of the label, in nats; 0 at masked positions"""
    labels: Tensor | None = None
    """[B, T] ids of the labels"""
    logits: Tensor | None = None
    """[B, T, V] all logits in the order of the vocabulary. A model gives `hidden` and `head` instead"""
    hidden: Tensor | None = None
    """[B, T, H] final hidden states; only for losses with "logits" in `needs`"""
    head: Head | None = None
    """the output layer that turns `hidden` into logits"""
    tokens: int | None = None
    """number of ids that are tokens: the later entries of the output layer are padding. None: all entries are tokens"""

    @property
    def vocabulary(self) -> int:
        """V, the number of entries of the output layer."""
        return self.head.vocabulary if self.head else self.need("logits").shape[-1]

    def logprobs_at(self, ids: Tensor) -> Tensor:
        """The log-probabilities [..., m] of m ids [..., m] at each position, with gradient.

        Raises:
            InputError: the signal was made without what a loss with "logits" in its `needs` reads.
        """
        if self.head is None or self.hidden is None:
            return self.need("logits").log_softmax(-1).gather(-1, ids)
        rows = self.hidden.flatten(0, -2), ids.flatten(0, -2)
        return self.head.logits(*rows).view_as(ids) - self.need("lse")[..., None]


class Head(Protocol):
    """An output layer."""

    @property
    def vocabulary(self) -> int:
        """The number of its entries."""
        ...

    def logits(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """The logits [N, m] of the hidden states [N, H] at the ids [N, m], with gradient."""
        ...


def valid_pairs(pivot_mask: Tensor, source_mask: Tensor, pairs: Tensor) -> Tensor:
    """Which pairs join two unmasked positions.

    Args:
        pivot_mask: [B, T].
        source_mask: [B, T_s].
        pairs: [B, P, 2] of (pivot position, source position), padded with -1. A row of `END` is no pair.

    Returns:
        [B, P] bool.
    """
    real = (pairs >= 0).all(-1)
    i, j = pairs.clamp_min(0).unbind(-1)
    return real & pivot_mask.gather(1, i) & source_mask.gather(1, j)


def at_pairs(pivot: PivotSignal, source: Signal, pairs: Tensor) -> tuple[PivotSignal, Signal, Tensor]:
    """Selects both signals at the pairs: row p of one signal is paired with row p of the other.

    Rows that join no two unmasked positions hold 0. They are kept, because counting the others would wait for a GPU.

    Args:
        pivot: fields [B, T, ...].
        source: fields [B, T_s, ...].
        pairs: [B, P, 2] of (pivot position, source position), padded with -1.

    Returns:
        Both signals with fields [B, P, ...], in the pivot's dtype, and which pairs are valid: [B, P] bool.
    """
    valid = valid_pairs(pivot.mask, source.mask, pairs)
    i, j = pairs.clamp_min(0).unbind(-1)
    b = torch.arange(len(pairs), device=pairs.device)[:, None]

    def chosen(at: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda tensor: _cleared(tensor[b, at], valid)

    return pivot.map(chosen(i)), source.map(chosen(j)).as_dtype(pivot.values.dtype), valid


def _cleared(tensor: Tensor, valid: Tensor) -> Tensor:
    """The tensor [B, P, ...] with 0, or False, where `valid` [B, P] is False."""
    return tensor.masked_fill(~(valid if tensor.ndim == 2 else valid[..., None]), 0)


def required(value: T | None, loss: str, what: str) -> T:
    """Returns `value`.

    Raises:
        InputError: it is None: the loss called `loss` was called without `what`.
    """
    if value is None:
        raise InputError(f"{loss} compares the pivot with a source, but it was called without {what}")
    return value
