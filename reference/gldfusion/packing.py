"""Packing: the texts of a micro-batch stand one after the other in few rows, so that rows need little padding.

In a packed row the positions start at 0 again with each text, and no position sees another text. transformers makes the
attention mask from the positions alone: blocks for SDPA and eager attention, sequence lengths for flash attention. A
model that cannot do this (it has a recurrent state, or it makes its own positions) is padded: `reason_to_pad` runs
every model on a few tokens, packed and alone, and compares the outputs.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from gldfusion.align import Encoded
from gldfusion.dealing import deal, even_out
from gldfusion.errors import InputError
from gldfusion.inputs import collate
from gldfusion.reading import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gldfusion.model import SignalModel

TOLERANCE = 1e-4
"""largest accepted difference between packed and single texts, as a share of the largest logit (float32)"""
TRIAL = (7, 12, 3, 9)
"""lengths of the texts on which a model is tried"""
LONGEST_TRIAL = 2048
"""a model whose attention is cut into chunks is tried on a text that is longer than a chunk, up to this many tokens"""
EVENED = 64
"""so many texts are dealt anew by `even_out`; more texts lie evenly without it"""
PADDING, DEARER = 0.03, 1.3
"""a layout with at most this share of padding is taken, if it costs at most so many times the cheapest one"""


@dataclass(frozen=True)
class Layout:
    """A way to put texts in rows."""

    rows: list[list[int]]
    """the texts of each row"""
    places: int
    """tokens and padding"""
    cost: float
    """see `Packer`"""


@dataclass(frozen=True)
class Packer:
    """Lays out the texts of a micro-batch in rows.

    The cost of R rows of L tokens is taken as R L (balance + L): all layers but the attention cost the same for each
    token, and the attention also grows with the length of its row, because the mask of a packed row is dense.
    """

    balance: float
    """length of a row at which the attention costs as much as all other layers; infinite if the attention skips what
    the mask hides"""

    @classmethod
    def for_width(cls, width: int) -> Packer:
        """The packer of a model with dense masks.

        A layer of width H takes about 24 H^2 operations per token, and its attention 4 L H in a row of L tokens: they
        are equal at L = 6 H. With a mask, the attention does about a third as many operations in a second (measured on
        a CPU), so they take as long at L = 2 H.
        """
        return cls(2.0 * width)

    def rows(self, lengths: Sequence[int]) -> list[list[int]]:
        """Chooses the cheapest layout with little padding, or else the one with the least padding at little more cost.

        Args:
            lengths: tokens of each text.

        Returns:
            The texts of each row, as indices into `lengths`.
        """
        if self.balance == float("inf"):
            return [[*range(len(lengths))]]
        layouts: list[Layout] = []
        tight: list[Layout] = []
        total, affordable, limit = sum(lengths), float("inf"), float("inf")
        most = min(len(lengths), total // max(lengths) + 1)  # more rows would be as long as the longest text too
        for number in range(most, 0, -1):
            if self._cost(total, number) > limit:
                break  # with fewer rows even a layout without padding costs too much
            layouts.append(self._layout(lengths, number))
            affordable = DEARER * min(layout.cost for layout in layouts)
            tight = [x for x in layouts if x.cost <= affordable and x.places * (1 - PADDING) <= total]
            limit = min((layout.cost for layout in tight), default=affordable)
        if tight:
            return min(tight, key=lambda layout: layout.cost).rows
        return min((x for x in layouts if x.cost <= affordable), key=lambda layout: layout.places).rows

    def _layout(self, lengths: Sequence[int], number: int) -> Layout:
        """A layout in so many rows."""
        rows = deal(lengths, number)
        if len(lengths) <= EVENED:
            rows = even_out(rows, lengths)
        places = number * max(sum(lengths[i] for i in row) for row in rows)
        return Layout(rows, places, self._cost(places, number))

    def _cost(self, places: int, number: int) -> float:
        """The cost of so many places in so many rows."""
        return places * (self.balance + places / number)


def packer_of(model: SignalModel, reason: str | None) -> Packer | None:
    """The packer of a model; None if there is a reason to pad."""
    if reason is not None:
        return None
    width = cast(nn.Embedding, model.model.get_input_embeddings()).weight.shape[1]
    return Packer(float("inf")) if _attention(model).startswith(("flash", "flex")) else Packer.for_width(width)


def set_attention(model: PreTrainedModel, name: str | None) -> None:
    """Chooses how a model computes its attention; None leaves it as it is.

    Raises:
        InputError: the model does not have this attention, or a package for it is missing.
    """
    if name is None:
        return
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError) as error:
        reason = one_line(str(error), 160)
        raise InputError(f"train.attention {name} cannot be used: {reason}\nchoose another, or remove it") from None


def _attention(model: SignalModel) -> str:
    """What transformers calls the attention of the model: "sdpa", "eager", "flash_attention_2", ..."""
    return str(getattr(model.model.config, "_attn_implementation", ""))


@torch.no_grad()
def reason_to_pad(model: SignalModel, device: torch.device) -> str | None:
    """Tries whether a model gives the same outputs for packed texts as for each text alone.

    Args:
        model: the model, on its device and in evaluation mode.
        device: the device.

    Returns:
        Why the texts must be padded, as a part of a sentence; None if they can be packed.
    """
    flash = _attention(model).startswith("flash")
    if "position_ids" not in inspect.signature(model.model.forward).parameters:
        return "the model takes no positions"
    chunk = getattr(model.model.config.get_text_config(), "attention_chunk_size", None) or 0
    if chunk > LONGEST_TRIAL:
        return f"its attention is cut into chunks of {chunk} tokens, which a short trial does not reach"
    texts = _trial_texts(model, (*TRIAL, chunk + 5) if chunk else TRIAL)
    dtype = torch.bfloat16 if flash else next(model.parameters()).dtype  # flash attention knows half precision only
    with model.any_kernel(), torch.autocast(device.type, torch.bfloat16, enabled=flash):
        alone = [model(collate([text]).to(device)) for text in texts]
        try:
            packed = model(collate(texts, [list(range(len(texts)))]).to(device))
        except (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError) as error:
            return f"it fails on packed texts ({type(error).__name__}: {one_line(str(error), 120)})"
    largest = max(float(signal.values.abs().max()) for signal in alone)
    difference = max(
        float((getattr(packed, name)[row, : len(text.starts)] - getattr(signal, name)[0]).abs().max())
        for row, (text, signal) in enumerate(zip(texts, alone, strict=True))
        for name in ("nll", "lse", "values")
    )
    if difference <= max(TOLERANCE, 4 * torch.finfo(dtype).eps) * largest:
        return None
    return f"its outputs on packed texts differ by {difference:.2g} (largest logit {largest:.2g})"


def _trial_texts(model: SignalModel, lengths: Sequence[int]) -> list[Encoded]:
    """Texts of random tokens. Every token after the first is a label."""
    embedding = cast(nn.Embedding, model.model.get_input_embeddings())
    random = np.random.default_rng(0)
    known = min(model.vocabulary, embedding.weight.shape[0])
    return [
        Encoded(random.integers(known, size=n).tolist(), n_prompt=1, starts=list(range(n - 1)), truncated=False)
        for n in lengths
    ]
