"""Local graph distillation: compares co-activation graphs of a few neighbouring positions, whose nodes have names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from gldfusion.gw.labelled import local_columns, squared_gap
from gldfusion.losses.options import check_options
from gldfusion.signals import PivotSignal, Signal, at_pairs, required, valid_pairs
from gldfusion.vocab import Strategy


@dataclass(frozen=True)
class GldLocal:
    """Local graph distillation: compares co-activation graphs of neighbouring paired positions, node by node.

    The loss is the sum over windows w of |w| times a distance of the graphs C_w and D_w of pivot and source. One unit
    is a paired position.

    The paired positions of a sequence are cut, in their order, into windows of at most W pairs. Let p_i and q_i be the
    node values of pivot and source at pair i. Then C_w = (1/|w|) sum_{i in w} p_i p_i^T, and D_w is made of the q_i in
    the same way. The nodes have names: the ids of the pivot's vocabulary. `map` gives the pivot's id for a source
    token; a token without one is a node of its own, and values that meet at one node are added. So there are two
    differences to `gld`. This loss knows which token is which, and it knows the place in the text up to a window. The
    options turn off either of them.

    W = 1 is distillation position by position: |p|^4 + |q|^4 - 2 (p.q)^2. One window over the whole response is
    `gld` with names. The time is O(U W k) for U pairs, and no matrix of nodes is built.

    What the values bound, with n for the number of nodes that either model keeps in a window, and GW for the
    Gromov-Wasserstein distance of C_w and D_w on these n nodes with the weights 1/n (on other nodes or with other
    weights nothing is bounded):
        labelled, frobenius: ||C_w - D_w||^2 / n^2 = LFG >= GW_2^2, an upper bound (`gw.lfg`). With one window, LFG is
        the loss / (units n^2).
        labelled, features: sum_i |f_i - g_i| / n >= W_1(f, g) = ggw_mean. It is no bound of GW_1, but ggw_mean <= GW_1.
        not labelled, features: W_1(f, g) = ggw_mean <= GW_1 itself, the paper's distance on these nodes.
        not labelled, frobenius: ||C_w - D_w||^2 / k^2 = GW_2^2 exactly, of the graphs on k rank nodes, because the
        sorted coupling is optimal for them.

    Attributes:
        labelled: Whether nodes are compared by name. If not, the loss is the id-blind twin: with the form "frobenius"
            the values of each position are sorted before the graphs are made, so node i is the i-th largest value and
            no id counts; with "features" the two feature vectors are sorted. These vectors are made with ids, so
            the names still count inside each model, as in `gld` with vocabulary nodes.
        window: W, the number of pairs of a window. "all" makes one window of all pairs of a sequence.
        form: What is compared.
            "frobenius": the distance is ||C_w - D_w||_F^2.
            "features": the distance is (1/n) sum_i |f_i - g_i| with f = C_w 1 / n and g = D_w 1 / n. Both divisions
            by n make it small, so it needs a weight near n^2: about 1e3 for 4 pairs of k = 10, and 1e6 for a long
            response.
        values: The node values.
            "softmax": the softmax over the kept k.
            "prob": the probabilities among the whole vocabulary.
        map: How source tokens are mapped to the pivot's.
            "exact": to the token with the same bytes; other source tokens have no match.
            "mined": to the token with the same bytes, or else to the one with the least edit distance in bytes (MinED).
            "fusellm": as FuseLLM's code does it: by the strings of the two vocabularies, or else by their edit distance
            in lower case.
    """

    labelled: bool = True
    window: int | Literal["all"] = 4
    form: Literal["frobenius", "features"] = "frobenius"
    values: Literal["softmax", "prob"] = "softmax"
    map: Strategy = "mined"

    citation: ClassVar[str] = "gldbench: graphs of InfiGFusion (arXiv 2505.13893) with named nodes, in windows"
    formula: ClassVar[str] = (
        "sum_w (1/|w|) sum_(i,j in w) (p_i.p_j)^2 + (q_i.q_j)^2 - 2 (p_i.q_j)^2; "
        "with features: sum_w (|w|/n) sum_i |f_i - g_i|"
    )
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`. The id-blind graphs on rank nodes need no ids."""
        names = {"ids", "mapped"} if self._named else set[str]()
        return frozenset(names | ({"lse"} if self.values == "prob" else set()))

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the windows; see `Loss.__call__`."""
        source, pairs = required(source, "gld_local", "a source"), required(pairs, "gld_local", "pairs")
        ours, theirs, valid = at_pairs(pivot, source, pairs)
        p, q = (torch.where(valid[..., None], self._node_values(signal), 0) for signal in (ours, theirs))
        named = (ours.need("ids"), _names(theirs)) if self._named else (None, None)
        nodes = [_nodes(*one, valid) for one in zip((ours, theirs), named, strict=True)]
        width = pairs.shape[1] if self.window == "all" else min(self.window, pairs.shape[1])
        p, p_nodes, q, q_nodes, held = (_windows(t, valid, width) for t in (p, nodes[0], q, nodes[1], valid))
        size = held.sum(-1).to(p.dtype)  # [N]
        if self.form == "frobenius":
            each = 1 / size.clamp_min(1)
            return (size * squared_gap(p, p_nodes, q, q_nodes, each, each)).sum()
        return (size * self._features_gap(p, p_nodes, q, q_nodes, size)).sum()

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of pairs that join two unmasked positions; see `Loss.count`."""
        source_mask, pairs = required(source_mask, "gld_local", "a source mask"), required(pairs, "gld_local", "pairs")
        return int(valid_pairs(pivot_mask, source_mask, pairs).sum())

    @property
    def _named(self) -> bool:
        """Whether nodes are ids. Otherwise they are ranks."""
        return self.labelled or self.form == "features"

    def _node_values(self, signal: Signal) -> Tensor:
        """The node values [B, P, k], in descending order."""
        if self.values == "softmax":
            return torch.softmax(signal.values, -1)
        return (signal.values - signal.need("lse")[..., None]).exp()

    def _features_gap(self, p: Tensor, p_nodes: Tensor, q: Tensor, q_nodes: Tensor, size: Tensor) -> Tensor:
        """(1/n) sum_i |f_i - g_i| of each window [N], or its id-blind twin; the arguments are [N, W, k] and [N]."""
        nodes = torch.cat([p_nodes.flatten(1), q_nodes.flatten(1)], 1)
        columns, n = local_columns(nodes)
        n = n - (nodes == NOWHERE).any(-1).long()
        scale = 1 / (n * n.clamp_min(1) * size).clamp_min(1)
        f, g = (
            z.new_zeros(nodes.shape).scatter_add(1, at, (z * z.sum(-1, keepdim=True)).flatten(1))
            for z, at in ((p, columns[:, : p[0].numel()]), (q, columns[:, p[0].numel() :]))
        )
        if not self.labelled:  # columns beyond the n nodes are 0 in both, and so are the smallest of n values
            f, g = f.sort(-1).values, g.sort(-1).values
        return scale * (f - g).abs().sum(-1)


NOWHERE = 1 << 40
"""the node of values that do not count"""


def _names(source: Signal) -> Tensor:
    """The node [B, P, k] of each token of a source. A token without counterpart has a node of its own."""
    ids, named = source.need("ids"), source.need("mapped")
    return torch.where(named >= 0, named, -1 - ids)


def _nodes(signal: Signal, names: Tensor | None, valid: Tensor) -> Tensor:
    """The node [B, P, k] of each value: its name, or else its rank; `NOWHERE` at rows that are no pair."""
    ranks = torch.arange(signal.values.shape[-1], device=valid.device).expand(signal.values.shape)
    return torch.where(valid[..., None], ranks if names is None else names, NOWHERE)


def _windows(rows: Tensor, valid: Tensor, width: int) -> Tensor:
    """Cuts the valid rows of each sequence into windows: [N, width, ...] from rows [B, P, ...] and valid [B, P].

    The rows that are no pair come last, so a window is made of pairs that follow each other.
    """
    order = (~valid).long().argsort(dim=1, stable=True)
    if rows.ndim > 2:
        order = order[..., None].expand_as(rows)
    ordered = rows.gather(1, order)
    missing = -rows.shape[1] % width
    filler = NOWHERE if rows.dtype == torch.int64 else 0
    padded = pad(ordered, (0, 0) * (rows.ndim - 2) + (0, missing), value=filler)
    return padded.unflatten(1, (-1, width)).flatten(0, 1)
