"""Graph-on-logits distillation: compares the co-activation graphs of two models through their sorted node features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gldfusion import gw
from gldfusion.errors import InputError
from gldfusion.graph import (
    Aggregate,
    Edges,
    coactivation_graph,
    node_features,
    shuffled_edges,
    vocabulary_matrix,
    vocabulary_nodes,
)
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required, valid_pairs
from gldfusion.vocab import Strategy

EPS = 1e-6
OF_FEATURES = {"ggw": gw.ggw_sum, "flb": gw.flb, "anova": gw.anova}
OF_GRAPHS = {"slb": gw.slb, "exact": gw.exact}


@dataclass(frozen=True)
class Gld:
    """Graph-on-logits distillation (GLD): compares the co-activation graphs of pivot and source in each sequence.

    The loss is the sum over sequences of a distance between the two graphs, or between their node features f and g. One
    unit is a sequence in which both pivot and source have a labelled position.

    By default all labelled positions of each model enter its graph, so GLD needs no pairs. With rank nodes the loss
    does not see which token is which: a source with permuted ids gives the same value. With vocabulary nodes it sees
    which ids return at other positions. But a Gromov-Wasserstein distance does not depend on the names of the nodes: if
    one permutation renames the source's ids everywhere, only the number of nodes that both models have changes.

    Attributes:
        nodes: What a node of the graph is.
            "rank": node i is the i-th largest logit of each position.
            "vocab": a node is an id of the pivot's vocabulary that either model keeps anywhere in the sequence. `map`
            gives the pivot's id for a source token; a token without one is a node of its own. If two entries of one
            position meet at one node, only the larger one counts. Both graphs have all nodes (n = m); a node of one
            model only has no edge in the other's graph. An absent id counts as 0. With softmax values 0 means
            impossible, which is right. With logprob values, the default, it would mean certain: this is refused.
        values: What Z holds at each position.
            "raw": the logits z. Adding a constant to all logits changes no distribution (gauge), but it changes this
            loss.
            "logprob": z - logsumexp over the vocabulary, which such a constant does not change.
            "standard": (z - mean) / (std + 1e-6), with the mean and population standard deviation over the
            *vocabulary*. Over the kept k they would be useless: then each row sums to 0, so Z 1 = 0 and f = Z^T (Z 1) /
            n is 0 for every model.
            "softmax": the softmax over the kept k. Then Z 1 = 1, so f holds the mean probability of each rank and
            nothing of the graph.
        aggregate: What the sum of z_t z_t^T over the T positions is divided by: "sum": 1. "mean": T, because the number
            of positions differs between tokenisations. "trace": the trace of the graph. "max": its largest entry.
        distance: What is computed from the features (in O(T k)) or from the graphs (in O(T k^2)).
            "ggw": the paper's `ggw_sum` of the features, for equal k only.
            "flb", "anova": lower bounds of GW_2^2 from the features.
            "slb": a lower bound of GW_2^2 from the graphs, which sees single edges.
            "exact": GW_2^2 itself, for rank-monotone graphs; other graphs are an error. Graphs are always rank-monotone
            with logprob or softmax values, and with logits of one sign.
        edges: "graph" leaves the graph as it is. "constant" is a control: it replaces every edge weight by the mean
            edge weight of its graph. "shuffled" is a control: the source's edge weights stay, but lie between other
            pairs of nodes (`graph.shuffled_edges`, in O(n^2) for n nodes).
        positions: Which positions enter the graphs. "all": all labelled positions of each model, whose numbers differ
            between tokenisations. "paired": those that are paired, so both graphs are made of equally many.
        k: Use the k largest logits only. None uses all kept logits.
        adapt: How many logits of a position enter the graph.
            "none": k at every position.
            "entropy": the ceil(exp H) largest, where H is the entropy of the softmax over the k. So the unlikely
            candidates of a confident position stay out of the graph. This number has no gradient.
        map: How source tokens are mapped to the pivot's, for vocabulary nodes.
            "exact": to the token with the same bytes; other source tokens have no match.
            "mined": to the token with the same bytes, or else to the one with the least edit distance in bytes (MinED).
            "fusellm": as FuseLLM's code does it: by the strings of the two vocabularies, or else by their edit distance
            in lower case.
    """

    nodes: Literal["rank", "vocab"] = "rank"
    values: Literal["raw", "logprob", "standard", "softmax"] = "logprob"
    aggregate: Aggregate = "mean"
    distance: Literal["ggw", "flb", "anova", "slb", "exact"] = "ggw"
    edges: Edges = "graph"
    positions: Literal["all", "paired"] = "all"
    k: int | None = None
    adapt: Literal["none", "entropy"] = "none"
    map: Strategy = "mined"

    citation: ClassVar[str] = "InfiGFusion (arXiv 2505.13893), graph term"
    formula: ClassVar[str] = "sum_b sum_i |f_(i) - g_(i)|, f = C 1/n, C = a(T) sum_t z_t z_t^T"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)
        if self.edges == "shuffled" and self.distance == "exact":
            raise InputError(
                "gld.distance exact is known for rank-monotone graphs only, and a graph with shuffled edges is none\n"
                "use slb, anova or flb"
            )
        if self.nodes == "vocab" and self.distance == "exact":
            raise InputError(
                "gld.distance exact is known for rank nodes only: graphs on vocabulary nodes are not rank-monotone\n"
                "use slb, anova or flb, which are certified lower bounds for vocabulary nodes too"
            )
        if self.nodes == "vocab" and self.values == "logprob":
            raise InputError(
                "gld with nodes: vocab cannot take values: logprob: an absent id counts as 0, which is the "
                "log-probability of certainty\nset values: softmax, with which 0 means impossible"
            )

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        of_nodes = ("ids", "mapped") if self.nodes == "vocab" else ()
        return frozenset({"logprob": ("lse",), "standard": ("moments",)}.get(self.values, ())).union(of_nodes)

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None = None) -> Tensor:
        """The sum over the sequences; see `Loss.__call__`. `pairs` is used with the option positions: paired only."""
        source = required(source, "gld", "a source").as_dtype(pivot.values.dtype)
        if self.positions == "paired":
            pivot, source, _ = at_pairs(pivot, source, required(pairs, "gld with positions: paired", "pairs"))
        sequences = _both(pivot.mask, source.mask)
        kept = [signal.narrow(self.k) for signal in (pivot, source)]
        if self.nodes == "vocab":
            return self._on_vocabulary(*(signal.map(lambda t: t[sequences]).cleared() for signal in kept))
        if self.distance in OF_GRAPHS:
            found = OF_GRAPHS[self.distance](*map(self._graph, kept, self._edges))
            return torch.where(sequences, found, 0).sum()
        f, g = map(self._features, kept, self._edges)
        if self.distance == "ggw" and f.shape[-1] != g.shape[-1]:
            raise InputError(
                f"gld with distance ggw needs equal numbers of rank nodes: pivot {f.shape[-1]}, source {g.shape[-1]}\n"
                f"set k: {min(f.shape[-1], g.shape[-1])} in the gld options, or distance: flb, anova, slb or exact"
            )
        return torch.where(sequences, OF_FEATURES[self.distance](f, g), 0).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None = None) -> int:
        """The number of sequences in which both pivot and source have a labelled position, or a pair of them."""
        source_mask = required(source_mask, "gld", "a source mask")
        if self.positions == "all":
            return int(_both(pivot_mask, source_mask).sum())
        pairs = required(pairs, "gld with positions: paired", "pairs")
        return int(valid_pairs(pivot_mask, source_mask, pairs).any(-1).sum())

    @property
    def _edges(self) -> tuple[Edges, Edges]:
        """What the edges of the pivot's and of the source's graph are."""
        return "graph" if self.edges == "shuffled" else self.edges, self.edges

    def _on_vocabulary(self, pivot: Signal, source: Signal) -> Tensor:
        """The sum over the sequences, computed one by one because each has its own nodes."""
        ids, named = source.need("ids"), source.need("mapped")
        named = torch.where(named >= 0, named, -1 - ids)  # without counterpart: a node of its own, with a negative id
        z = [self._node_values(pivot), _first_of_each(self._node_values(source), named)]
        total = z[0].sum() * 0  # keeps a gradient (of 0) if there is no sequence
        for b, mask in enumerate(zip(pivot.mask, source.mask, strict=True)):
            each = [(z[0][b][mask[0]], pivot.need("ids")[b][mask[0]]), (z[1][b][mask[1]], named[b][mask[1]])]
            nodes = vocabulary_nodes(torch.cat([held.flatten() for _, held in each]))
            if self.distance in OF_GRAPHS:
                graphs = [coactivation_graph(vocabulary_matrix(*one, nodes), self.aggregate) for one in each]
                total = total + OF_GRAPHS[self.distance](*map(_with_edges, graphs, self._edges))
            else:
                total = total + OF_FEATURES[self.distance](
                    *(
                        node_features(*one, self.aggregate, edges=edges, nodes=nodes)
                        for one, edges in zip(each, self._edges, strict=True)
                    )
                )
        return total

    def _features(self, signal: Signal, edges: Edges) -> Tensor:
        """The node features [B, k]."""
        z = self._node_values(signal.cleared())
        return node_features(z, aggregate=self.aggregate, mask=signal.mask, edges=edges)

    def _graph(self, signal: Signal, edges: Edges) -> Tensor:
        """The graphs [B, k, k]."""
        graphs = coactivation_graph(self._node_values(signal.cleared()), self.aggregate, signal.mask)
        return _with_edges(graphs, edges)

    def _node_values(self, signal: Signal) -> Tensor:
        """The node values Z [B, T, k]."""
        if self.values == "logprob":
            z = signal.values - signal.need("lse")[..., None]
        elif self.values == "standard":
            z = (signal.values - signal.need("mean")[..., None]) / (signal.need("std")[..., None] + EPS)
        else:
            z = torch.softmax(signal.values, -1) if self.values == "softmax" else signal.values
        return z if self.adapt == "none" else torch.where(_candidates(signal.values), z, 0)


def _with_edges(graph: Tensor, edges: Edges) -> Tensor:
    """The graphs [..., n, n] with the edges that the option names."""
    if edges == "graph":
        return graph
    return shuffled_edges(graph) if edges == "shuffled" else graph.mean((-2, -1), keepdim=True).expand_as(graph)


def _both(pivot_mask: Tensor, source_mask: Tensor) -> Tensor:
    """Which sequences have a labelled position in both signals: [B] bool."""
    return pivot_mask.any(-1) & source_mask.any(-1)


@torch.no_grad()
def _candidates(values: Tensor) -> Tensor:
    """The first ceil(exp H) entries of each position, with H the entropy of the softmax over its k: [B, T, k] bool."""
    entropy = torch.special.entr(torch.softmax(values, -1)).sum(-1, keepdim=True)
    number = (entropy.exp() - 1e-6).ceil()  # 1e-6: at a certain position exp H is 1 up to rounding
    return torch.arange(values.shape[-1], device=values.device) < number


def _first_of_each(z: Tensor, ids: Tensor) -> Tensor:
    """Returns z [..., k] with 0 at every entry whose id is also the id of an earlier entry of its row."""
    ordered, order = torch.sort(ids, dim=-1, stable=True)
    again = torch.zeros_like(ids, dtype=torch.bool)
    again[..., 1:] = ordered[..., 1:] == ordered[..., :-1]
    return torch.where(again.gather(-1, order.argsort(-1)), 0, z)
