"""Dynamic Logits Fusion: at each step of decoding, the logits of a model are shifted by what an expert has learned.

Fan et al., On Giant's Shoulders: Effortless Weak to Strong by Dynamic Logits Fusion (2024), arXiv:2406.15480. With the
logits M of the pivot, M_t of expert t and M_t0 of its base, and P, Q_t, Q_t0 their softmax:

    P~ = softmax(M + sum_t alpha_t (M_t - M_t0))
    alpha = argmin sum_t (KL(P~ || P) - KL(Q_t || Q_t0))^2 + (KL(P || P~) - KL(Q_t0 || Q_t))^2

The argmin is taken over a grid of alpha in [0, 2] for each expert. The paper says that a search in which only one
expert acts at each step is faster; the mix says which of the two is done. If the pivot itself is the base of two
experts, each of them acting alone with alpha = 1 is equally good, and only the search over all tells experts apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from gldbench.generate.mix import Mix
from gldfusion.errors import InputError
from gldfusion.model import load_model
from gldfusion.probe import output_layer

CLEARLY = 1e-4
"""a candidate replaces an earlier one if its objective is smaller by this share, so that rounding decides less often"""


def candidates(alphas: Sequence[float], experts: int, one_at_a_time: bool) -> list[tuple[float, ...]]:
    """All factors that are tried, the smallest shifts first; the first one is no shift.

    Args:
        alphas: the factors above 0 of one expert.
        experts: number of experts.
        one_at_a_time: at most one factor is above 0.
    """
    every = itertools.product((0.0, *alphas), repeat=experts)
    return sorted((one for one in every if not one_at_a_time or sum(a > 0 for a in one) <= 1), key=sum)


def fuse_logits(pivot: Tensor, experts: Sequence[tuple[Tensor, Tensor]], tried: Sequence[tuple[float, ...]]) -> Tensor:
    """The shifted logits [..., V] of the pivot.

    Args:
        pivot: logits [..., V].
        experts: for each expert its logits and those of its base, [..., V].
        tried: the factors of all experts that are tried; see `candidates`.
    """
    before = pivot.log_softmax(-1)
    logs = [(tuned.log_softmax(-1), base.log_softmax(-1)) for tuned, base in experts]
    wanted = [(_kl(tuned, base), _kl(base, tuned)) for tuned, base in logs]
    shifts = [tuned - base for tuned, base in experts]

    def shifted(factors: Sequence[float]) -> Tensor:
        acting = [(factor, shift) for factor, shift in zip(factors, shifts, strict=True) if factor]
        return sum((factor * shift for factor, shift in acting), start=pivot)

    def distance(after: Tensor) -> Tensor:
        there, back = _kl(after, before), _kl(before, after)
        return torch.stack([(there - forth).square() + (back - home).square() for forth, home in wanted]).sum(0)

    best = shifted(tried[0])
    least = distance(best.log_softmax(-1))
    for factors in tried[1:]:
        new = shifted(factors)
        found = distance(new.log_softmax(-1))
        better = found < (1 - CLEARLY) * least
        best, least = torch.where(better[..., None], new, best), torch.where(better, found, least)
    return best


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities [..., V]."""
    return (p.exp() * (p - q)).sum(-1)


@dataclass(frozen=True)
class Experts:
    """The loaded models of a mix, besides its pivot. A checkpoint that is named several times is loaded once."""

    mix: Mix
    models: Mapping[str, PreTrainedModel]
    """by path"""
    tried: Sequence[tuple[float, ...]]
    """see `candidates`"""

    def fuse(self, pivot: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """The fused logits, from the logits of the pivot and of all `models`."""
        logits = {self.mix.pivot.path: pivot.float()} | {path: own.float() for path, own in others.items()}
        pairs = [(logits[expert.tuned.path], logits[expert.base.path]) for expert in self.mix.experts]
        return fuse_logits(pivot.float(), pairs, self.tried)


def load_experts(mix: Mix, folder: Path, pivot: PreTrainedModel, trust_remote_code: bool) -> Experts:
    """Loads the models of a mix besides its pivot, with the data type and on the device of the pivot.

    Raises:
        InputError: one cannot be loaded, or its logits have another size than those of the pivot.
    """
    others = [part.path for part in mix.parts if part != mix.pivot]
    models = {path: load_model(folder / path, pivot.dtype, trust_remote_code) for path in others}
    for path, model in models.items():
        ours, theirs = (output_layer(one).weight.shape[0] for one in (pivot, model))
        if ours != theirs:
            raise InputError(
                f"{folder / path} has logits for {theirs} tokens, and the pivot of the mix for {ours}\n"
                "mix models that share one vocabulary"
            )
        model.to(pivot.device)  # pyright: ignore[reportArgumentType]
    return Experts(mix, models, candidates(mix.alphas, len(mix.experts), mix.one_at_a_time))


class _Reader:
    """A model that reads a growing batch of texts, and keeps what it has read in its cache."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, self._cache, self._read = model, None, 0

    def next_logits(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The logits [B, V] of the token after `ids` [B, L], which begin with those of the call before."""
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        out = self._model(
            input_ids=ids[:, self._read :],
            attention_mask=mask,
            position_ids=places[:, self._read :],
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache, self._read = out.past_key_values, ids.shape[1]
        return out.logits[:, -1]


class DynamicLogitsFusion(LogitsProcessor):
    """Replaces the logits of the pivot, while `generate` runs on one batch, by the fused ones."""

    def __init__(self, experts: Experts, attention_mask: Tensor) -> None:
        """Starts a batch.

        Args:
            experts: the other models.
            attention_mask: [B, L] 1 at the tokens of the prompts and 0 at padding, which is on the left.
        """
        self._experts, self._mask = experts, attention_mask
        self._readers = {path: _Reader(model) for path, model in experts.models.items()}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The fused logits [B, V] of the next token, from those of the pivot."""
        new = input_ids.shape[1] - self._mask.shape[1]
        mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), new)], dim=1)
        with torch.no_grad():
            others = {path: reader.next_logits(input_ids, mask) for path, reader in self._readers.items()}
            return self._experts.fuse(scores, others)
