"""Graph-on-logits distillation: co-activation graphs of two responses compared through their sorted node features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gldfusion import gw
from gldfusion.errors import InputError
from gldfusion.graph import Aggregate, Edges, coactivation_graph, node_features
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, required

EPS = 1e-6
OF_FEATURES = {"ggw": gw.ggw_sum, "flb": gw.flb, "anova": gw.anova}
OF_GRAPHS = {"slb": gw.slb, "exact": gw.exact}


@dataclass(frozen=True)
class Gld:
    """sum over sequences of the distance of the two graphs, or of their node features f and g. Unit: a sequence.

    A sequence counts when pivot and source each have a labelled position in it. All labelled positions of each model
    enter its graph: GLD pairs nothing. With rank nodes (node i = the i-th largest logit) it does not see which token is
    which: a source with permuted ids scores alike.
    """

    nodes: Literal["rank"] = "rank"
    """what a node of the graph is"""
    values: Literal["raw", "logprob", "standard", "softmax"] = "logprob"
    """what stands in Z at each position:

    raw       z itself: the loss then also chases a constant added to all logits, which no distribution shows (gauge)
    logprob   z - logsumexp over the vocabulary: free of that constant
    standard  (z - mean) / (std + 1e-6) with mean and population std over the *vocabulary*, never over the kept k:
              those rows sum to zero, so Z 1 = 0 and f = Z^T (Z 1) / n is 0 whatever the model
    softmax   softmax over the kept k: Z 1 = 1, so f is the mean probability of each rank and carries no graph
    """
    aggregate: Aggregate = "mean"
    """see gldfusion.graph; lengths differ between tokenisations, hence the mean"""
    distance: Literal["ggw", "flb", "anova", "slb", "exact"] = "ggw"
    """of the features, O(T k): ggw, the paper's ggw_sum, for equal k only; flb and anova, lower bounds of GW_2^2.

    Of the graphs, O(T k^2): slb, a lower bound that sees single edges; exact, GW_2^2 itself where the graphs are
    rank-monotone, as they always are for values logprob and softmax and for logits of one sign; an error elsewhere.
    """
    edges: Edges = "graph"
    """constant: the control that replaces every edge weight by the mean edge weight of its graph"""
    k: int | None = None
    """use the first k logits only; None uses all that are kept"""

    citation: ClassVar[str] = "InfiGFusion (arXiv 2505.13893), graph term"
    formula: ClassVar[str] = "sum_b sum_i |f_(i) - g_(i)|, f = C 1/n, C = a(T) sum_t z_t z_t^T"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """What the signals must hold besides values and mask."""
        return frozenset({"logprob": {"lse"}, "standard": {"moments"}}.get(self.values, ()))

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None = None) -> Tensor:
        """The sum over sequences, a scalar. `pairs` is not used."""
        source = required(source, "gld", "a source").as_dtype(pivot.values.dtype)
        sequences = _both(pivot.mask, source.mask)
        kept = [signal.narrow(self.k).map(lambda t: t[sequences]) for signal in (pivot, source)]
        if self.distance in OF_GRAPHS:
            return OF_GRAPHS[self.distance](*(self._graph(signal) for signal in kept)).sum()
        f, g = (self._features(signal) for signal in kept)
        if self.distance == "ggw" and f.shape[-1] != g.shape[-1]:
            raise InputError(
                f"gld with distance ggw needs equal numbers of rank nodes: pivot {f.shape[-1]}, source {g.shape[-1]}\n"
                f"set k: {min(f.shape[-1], g.shape[-1])} in the gld options, or distance: flb, anova, slb or exact"
            )
        return OF_FEATURES[self.distance](f, g).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None = None) -> int:
        """How many sequences have a labelled position in both pivot and source."""
        return int(_both(pivot_mask, required(source_mask, "gld", "a source mask")).sum())

    def _features(self, signal: Signal) -> Tensor:
        """[B, k]"""
        z = self._node_values(signal.cleared())
        return node_features(z, aggregate=self.aggregate, mask=signal.mask, edges=self.edges)

    def _graph(self, signal: Signal) -> Tensor:
        """[B, k, k]"""
        graph = coactivation_graph(self._node_values(signal.cleared()), self.aggregate, signal.mask)
        return graph if self.edges == "graph" else graph.mean((-2, -1), keepdim=True).expand_as(graph)

    def _node_values(self, signal: Signal) -> Tensor:
        """Z [B, T, k]"""
        if self.values == "logprob":
            return signal.values - signal.need("lse")[..., None]
        if self.values == "standard":
            return (signal.values - signal.need("mean")[..., None]) / (signal.need("std")[..., None] + EPS)
        return torch.softmax(signal.values, -1) if self.values == "softmax" else signal.values


def _both(pivot_mask: Tensor, source_mask: Tensor) -> Tensor:
    """[B]: the sequences with a labelled position in both."""
    return pivot_mask.any(-1) & source_mask.any(-1)
