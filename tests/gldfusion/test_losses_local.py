"""`gld_local` and the labelled Frobenius gap: equal to their formulas, with the bounds that their docstrings state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gldfusion import gw
from gldfusion.conformance.ours import signal_of
from gldfusion.errors import InputError
from gldfusion.gw import labelled
from gldfusion.losses import make_loss
from gldfusion.losses.gld_local import GldLocal
from gldfusion.signals import PivotSignal, Signal

V = 9
PERMUTED = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])
ALL = [
    {"labelled": named, "form": form, "window": window, "values": values}
    for named in (True, False)
    for form in ("frobenius", "features")
    for window in (1, 2, 3, "all")
    for values in ("softmax", "prob")
]


def randn(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def signals(seed: int = 0, k: int = 4) -> tuple[PivotSignal, Signal, Tensor]:
    """Two sequences with 5 and 2 pairs. One source token is not mapped, and two tokens of one position meet."""
    masks = torch.arange(7) < torch.tensor([7, 3])[:, None], torch.arange(6) < torch.tensor([6, 2])[:, None]
    none = torch.zeros(2, 7, dtype=torch.long)
    ours = signal_of(randn(2, 7, V, seed=seed), masks[0], none, k)
    theirs = signal_of(randn(2, 6, V, seed=seed + 50), masks[1], none[:, :6], k)
    names = torch.tensor([0, 1, 2, 3, 4, 5, 5, 7, -1])  # of the source's tokens: 5 and 6 meet, 8 has none
    pairs = torch.tensor([[[0, 0], [1, 1], [3, 2], [4, 4], [6, 5]], [[0, 0], [2, 1], [-1, -1], [-1, -1], [-1, -1]]])
    return ours, replace(theirs, mapped=names[theirs.need("ids")]), pairs


def values_of(one: Signal, b: int, t: int, how: str) -> Tensor:
    return torch.softmax(one.values[b, t], -1) if how == "softmax" else (one.values[b, t] - one.need("lse")[b, t]).exp()


def on_nodes(values: Tensor, nodes: list[int], names: list[int]) -> Tensor:
    """The values as a vector on all nodes; those that meet are added."""
    out = torch.zeros(len(nodes), dtype=values.dtype)
    for value, name in zip(values, names, strict=True):
        out[nodes.index(name)] += value
    return out


def windows(pairs: Tensor, b: int, width: Any) -> list[list[list[int]]]:
    """The pairs of sequence b, cut into windows."""
    valid = [pair for pair in pairs[b].tolist() if pair[0] >= 0]
    size = len(valid) if width == "all" else width
    return [valid[first : first + size] for first in range(0, len(valid), size)]


def vectors(ours: Signal, theirs: Signal, window: list[list[int]], b: int, options: dict[str, Any]) -> list[Tensor]:
    """P and Q [|w|, n] of a window, written out: on named nodes, or on ranks."""
    sides = []
    for place, one in enumerate((ours, theirs)):
        rows = []
        for pair in window:
            ids = one.need("ids")[b, pair[place]].tolist()
            mapped = one.need("mapped")[b, pair[place]].tolist()
            names = [m if m >= 0 else -1 - i for i, m in zip(ids, mapped, strict=True)] if place else ids
            rows.append((values_of(one, b, pair[place], options["values"]), names))
        sides.append(rows)
    if not options["labelled"] and options["form"] == "frobenius":
        return [torch.stack([values.sort(descending=True).values for values, _ in rows]) for rows in sides]
    nodes = sorted({name for rows in sides for _, names in rows for name in names})
    return [torch.stack([on_nodes(values, nodes, names) for values, names in rows]) for rows in sides]


def written_out(options: dict[str, Any], seed: int = 0) -> float:
    """The loss from the graphs themselves: sum over windows of |w| times the distance of C and D."""
    ours, theirs, pairs = signals(seed)
    total = 0.0
    for b in range(2):
        for window in windows(pairs, b, options["window"]):
            graphs = [z.T @ z / len(window) for z in vectors(ours, theirs, window, b, options)]
            if options["form"] == "frobenius":
                distance = (graphs[0] - graphs[1]).square().sum()
            else:
                f, g = (graph.mean(-1) for graph in graphs)
                distance = (f - g).abs().mean() if options["labelled"] else gw.ggw_mean(f, g)
            total += len(window) * distance.item()
    return total


@pytest.mark.parametrize("options", ALL, ids=str)
def test_written_out(options: dict[str, Any]) -> None:
    loss = make_loss("gld_local", options)
    found = loss(*signals())
    assert found.item() == pytest.approx(written_out(options), rel=1e-9, abs=1e-14)
    assert loss.count(signals()[0].mask, signals()[1].mask, signals()[2]) == 7


@pytest.mark.parametrize("options", ALL, ids=str)
def test_the_gradient_is_exact(options: dict[str, Any]) -> None:
    ours, theirs, pairs = signals()
    loss = make_loss("gld_local", options)

    def run(values: Tensor) -> Tensor:
        return loss(replace(ours, values=values), theirs, pairs)

    assert torch.autograd.gradcheck(run, ours.values.requires_grad_(), fast_mode=True)


def test_problems_that_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of one part holds as little as one window."""
    found = []
    for table in (labelled.TABLE, 1):
        monkeypatch.setattr(labelled, "TABLE", table)
        ours, theirs, pairs = signals()
        value = GldLocal(window=2)(replace(ours, values=ours.values.requires_grad_()), theirs, pairs)
        found.append((value, torch.autograd.grad(value, ours.values)[0]))
    assert found[0][0].item() == pytest.approx(found[1][0].item(), rel=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1])


def two_positions(p: list[int], q: list[int]) -> tuple[PivotSignal, Signal, Tensor]:
    """Both models are certain: p and q are the tokens that have probability 1 at each pair."""
    shape = 1, len(p)

    def certain(ids: list[int]) -> PivotSignal:
        logits = torch.full((*shape, V), -50.0, dtype=torch.float64)
        logits.scatter_(-1, torch.tensor(ids).view(*shape, 1), 0)
        return signal_of(logits, torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.long), 1)

    places = torch.arange(len(p))
    return certain(p), certain(q), torch.stack([places, places], -1)[None]


@pytest.mark.parametrize(
    ("p", "q", "window", "expected"),
    [([0, 1], [0, 1], 1, 0), ([0, 1], [0, 1], 2, 0), ([0], [1], 1, 2), ([0, 1], [1, 0], 1, 4), ([0, 1], [1, 0], 2, 0)],
)
def test_vectors(p: list[int], q: list[int], window: int, expected: float) -> None:
    assert GldLocal(window=window)(*two_positions(p, q)).item() == pytest.approx(expected, abs=1e-12)
    assert GldLocal(labelled=False, window=window)(*two_positions(p, q)).item() == pytest.approx(0, abs=1e-12)


def renamed(theirs: Signal) -> Signal:
    return replace(theirs, ids=PERMUTED[theirs.need("ids")], mapped=PERMUTED[theirs.need("ids")])


@pytest.mark.parametrize("window", [1, 2, "all"])
def test_who_sees_names(window: Any) -> None:
    """Renamed ids of one model change the labelled forms only. Both renamed alike change nothing."""
    ours, theirs, pairs = signals()
    theirs = replace(theirs, mapped=theirs.need("ids"))
    both = replace(ours, ids=PERMUTED[ours.need("ids")])
    for form in ("frobenius", "features"):
        sees = GldLocal(window=window, form=form)
        before = sees(ours, theirs, pairs).item()
        assert sees(ours, renamed(theirs), pairs).item() != pytest.approx(before, rel=1e-3)
        assert sees(both, renamed(theirs), pairs).item() == pytest.approx(before)
    blind = GldLocal(window=window, labelled=False)
    assert blind.needs == frozenset()
    assert blind(ours, renamed(theirs), pairs).item() == blind(ours, theirs, pairs).item()


@pytest.mark.parametrize("form", ["frobenius", "features"])
def test_who_sees_the_place(form: Any) -> None:
    """The source's outputs in another order: one window over all pairs does not see it, a window of one pair does."""
    ours, theirs, pairs = signals()
    pairs = pairs[:1]
    ours, theirs = ours.map(lambda t: t[:1]), theirs.map(lambda t: t[:1])
    order = pairs[:, :, 1][0]
    moved = theirs.map(lambda t: t.index_copy(1, order, t[:, order.roll(1)]))
    place, none = GldLocal(window=1, form=form), GldLocal(window="all", form=form)
    assert none(ours, moved, pairs).item() == pytest.approx(none(ours, theirs, pairs).item())
    assert place(ours, moved, pairs).item() != pytest.approx(place(ours, theirs, pairs).item(), rel=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_what_the_corners_bound(seed: int) -> None:
    """One window, mean aggregation, all on the padded nodes of both models with the weights 1/n."""
    ours, theirs, pairs = signals(seed)
    ours, theirs, pairs = ours.map(lambda t: t[:1]), theirs.map(lambda t: t[:1]), pairs[:1]
    options = {"window": "all", "labelled": True, "form": "frobenius", "values": "softmax"}
    p, q = vectors(ours, theirs, pairs[0].tolist(), 0, options)
    c, d = p.T @ p / len(p), q.T @ q / len(q)
    f, g = c.mean(-1), d.mean(-1)
    per_unit = {
        (named, form): GldLocal(window="all", labelled=named, form=form)(ours, theirs, pairs).item() / len(pairs[0])
        for named in (True, False)
        for form in ("frobenius", "features")
    }
    gap = per_unit[True, "frobenius"] / len(c) ** 2
    lower = [gw.flb(f, g), gw.anova(f, g), gw.slb(c, d), gw.proj(c, d), gw.ggw_mean(f, g).square(), gw.tlb(c, d)]
    assert all(float(bound) <= gap + 1e-15 for bound in lower)
    order = gw.sorted_coupling(c, d)
    least = min(gap, gw.coupling_cost(c, d, order).item())
    assert all(float(bound) <= least + 1e-15 for bound in lower)
    assert per_unit[True, "features"] >= gw.ggw_mean(f, g).item() - 1e-15
    assert per_unit[False, "features"] == pytest.approx(gw.ggw_mean(f, g).item())
    ranks = vectors(ours, theirs, pairs[0].tolist(), 0, options | {"labelled": False})
    exact = gw.exact(*(z.T @ z / len(z) for z in ranks)).item()
    assert per_unit[False, "frobenius"] == pytest.approx(exact * ranks[0].shape[1] ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_sorting_cannot_raise_the_distance_of_single_positions(seed: int) -> None:
    ours, theirs, pairs = signals(seed)
    theirs = replace(theirs, mapped=theirs.need("ids"))
    named, blind = (GldLocal(window=1, labelled=on)(ours, theirs, pairs).item() for on in (True, False))
    assert 0 <= blind <= named


def test_lfg_of_the_two_vectors() -> None:
    ids = torch.arange(2).expand(2, 2)
    eye = torch.eye(2, dtype=torch.float64)
    assert gw.lfg(eye, ids, eye.flip(0), ids).item() == 0
    z, y = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    assert gw.lfg(z, ids[:1], y, ids[:1]).item() == 8
    c, d = z.T @ z, y.T @ y
    assert gw.ggw_sum(c.mean(-1), d.mean(-1)).item() == 0
    assert gw.coupling_cost(c, d, gw.sorted_coupling(c, d)).item() == 0  # a renaming, which GW must not see


@pytest.mark.parametrize("aggregate", ["sum", "mean"])
def test_lfg_is_the_gap_of_dense_graphs(aggregate: Any) -> None:
    random = torch.Generator().manual_seed(3)
    z, y = randn(6, 4, seed=1).requires_grad_(), randn(3, 5, seed=2).requires_grad_()
    z_ids, y_ids = (torch.randint(12, one.shape, generator=random) for one in (z, y))  # ids may repeat in a row
    nodes = torch.cat([z_ids.flatten(), y_ids.flatten()]).unique()

    def dense(one: Tensor, ids: Tensor) -> Tensor:
        full = one.new_zeros(len(one), len(nodes)).scatter_add(1, torch.searchsorted(nodes, ids), one)
        return full.T @ full / (len(one) if aggregate == "mean" else 1)

    expected = (dense(z, z_ids) - dense(y, y_ids)).square().sum() / len(nodes) ** 2
    found = gw.lfg(z, z_ids, y, y_ids, aggregate)
    assert found.item() == pytest.approx(expected.item())
    for mine, theirs in zip(torch.autograd.grad(found, (z, y)), torch.autograd.grad(expected, (z, y)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_lfg_refuses_other_shapes() -> None:
    with pytest.raises(InputError, match="of one shape"):
        gw.lfg(torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.long), torch.ones(1, 1), torch.zeros(1, 1).long())
    with pytest.raises(InputError, match="aggregate must be one of sum, mean"):
        gw.lfg(*(torch.ones(1, 1), torch.zeros(1, 1).long()) * 2, aggregate="trace")  # pyright: ignore[reportArgumentType]
