"""Approximate likelihood matching: compares the probabilities that two models give to the same pieces of the text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gldfusion.losses.chunks import Chunks
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, required


@dataclass(frozen=True)
class Alm:
    """Approximate likelihood matching (ALM): compares the likelihoods of chunks of the response.

    The loss is the sum over chunks of f(q, p) + f(1 - q, 1 - p), in nats if f is a KL divergence. One unit is a chunk.

    A chunk is one of the smallest pieces of the response that both tokenisations cut at both ends. The source gives it
    the probability Q(chunk), the product of the probabilities of its labels, and the pivot gives it P(chunk). Then
    q = Q(chunk)^(1/tau) and p = P(chunk)^(1/tau). So ALM compares two events, "this chunk" and "anything else". It
    reads of the source one number for each label, and no vocabulary is mapped. A source with permuted ids
    (control `permuted_ids`) therefore gives the same value.

    We follow the paper's objective with chunks as the tokenizers make them. The code of its authors (tokenkit) computes
    binary cross-entropy, which has the same gradient as KL, and adds 1e-6 to the exponents. It can also merge chunks
    whose end one of the models does not expect ("debiasing", which needs the probability of a whole group of tokens),
    and match hidden states. We have neither.

    Attributes:
        divergence: The divergence f of the two events.
            "kl": KL(q || p), with f(q, p) = q log(q / p).
            "reverse_kl": KL(p || q).
            "tv": the total variation |q - p|, with f(q, p) = |q - p| / 2.
        temperature: tau > 0. A chunk of several tokens is unlikely under every model, and a larger tau moves q and p
            away from 0. There is no factor tau, so value and gradient fall about as 1 / tau: give the term tau times
            the weight. The configurations of tokenkit have 100.
    """

    divergence: Literal["kl", "reverse_kl", "tv"] = "kl"
    temperature: float = 1.0

    citation: ClassVar[str] = "ALM, Minixhofer et al. 2025 (arXiv 2503.20083), without debiasing and hidden states"
    formula: ClassVar[str] = "sum_chunks f(q, p) + f(1-q, 1-p), q = Q(chunk)^(1/tau), p = P(chunk)^(1/tau)"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return frozenset({"nll"})

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the chunks; see `Loss.__call__`."""
        source, pairs = required(source, "alm", "a source"), required(pairs, "alm", "pairs")
        chunks = Chunks.of(pivot.mask, source.mask, pairs)
        ours = chunks.totals(pivot.nll, chunks.ours) / self.temperature
        theirs = chunks.totals(source.need("nll").to(pivot.nll.dtype), chunks.theirs) / self.temperature
        least = torch.finfo(ours.dtype).eps  # of a probability of 1, log(1 - p) would be infinite
        found = DIVERGENCES[self.divergence](theirs.clamp_min(least), ours.clamp_min(least))
        return torch.where(chunks.complete, found, 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of complete chunks; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "alm", "a source mask"), required(pairs, "alm", "pairs")
        return int(Chunks.of(pivot_mask, source_mask, pairs).complete.sum())


def binary_kl(a: Tensor, b: Tensor) -> Tensor:
    """KL between an event of probability exp(-a) and its complement, and the same with exp(-b)."""
    return (-a).exp() * (b - a) - torch.expm1(-a) * (log_complement(a) - log_complement(b))


def log_complement(a: Tensor) -> Tensor:
    """log(1 - exp(-a)) for a > 0, exact for small and for large a."""
    return torch.where(a < 1, torch.log(-torch.expm1(-a.clamp_max(1))), torch.log1p(-(-a.clamp_min(0.5)).exp()))


DIVERGENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kl": binary_kl,
    "reverse_kl": lambda a, b: binary_kl(b, a),
    "tv": lambda a, b: ((-a).exp() - (-b).exp()).abs(),
}
"""name of a divergence -> function of the negative log-probabilities of the source and of the pivot"""
