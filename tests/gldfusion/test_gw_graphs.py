"""Bounds and the closed form that read whole graphs: test vectors, other libraries, brute force, gradients."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product
from typing import Any

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gldfusion import gw
from gldfusion.errors import InputError
from gldfusion.graph import coactivation_graph
from gldfusion.losses.gld import Gld
from gldfusion.signals import PivotSignal, Signal

seeds = st.integers(0, 2**32 - 1)


def tensor(rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def graph(n: int, positions: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return coactivation_graph(torch.rand(positions, n, dtype=torch.float64, generator=generator) - shift)


def weights(n: int, seed: int) -> Tensor:
    drawn = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.05
    return drawn / drawn.sum()


def rank_logits(*shape: int, seed: int, sign: int = 1) -> Tensor:
    drawn = torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (sign * drawn).sort(-1, descending=True).values


def brute_force(c: Tensor, d: Tensor, power: int = 2) -> float:
    """The best permutation."""
    n = len(c)
    return min((c - d[list(p)][:, list(p)]).abs().pow(power).sum().item() for p in permutations(range(n))) / n**2


INTEGER = tuple(
    coactivation_graph(tensor(z))
    for z in (
        [[2, 1, 1, 2, 2], [0, 1, 2, 2, 2], [0, 0, 2, 0, 1]],
        [[1, 2, 1, 0, 1], [0, 1, 2, 2, 2], [1, 0, 1, 2, 2]],
    )
)


def test_vector_of_small_integers() -> None:
    c, d = INTEGER
    assert gw.slb(c, d).item() == pytest.approx(4 / 5, abs=1e-9)
    assert gw.tlb(c, d) == pytest.approx(4 / 5, abs=1e-9)
    assert gw.coupling_cost(c, d, gw.sorted_coupling(c, d)).item() == pytest.approx(8 / 5, abs=1e-9)


def test_vector_of_residues() -> None:
    def residues(row: int, power: int) -> Tensor:
        return tensor([[((t + row) * (i + 1) ** power % 7) / 7 for i in range(6)] for t in range(5)])

    c, d = coactivation_graph(residues(1, 1)), coactivation_graph(residues(2, 2))
    exact = Fraction(11035, 86436)
    assert gw.coupling_cost(c, d, gw.sorted_coupling(c, d)).item() == pytest.approx(1333 / 9604, abs=1e-9)
    assert brute_force(c, d) == pytest.approx(float(exact), abs=1e-9)
    assert max(gw.slb(c, d).item(), gw.proj(c, d).item(), gw.tlb(c, d)) <= exact


def test_vector_of_rank_one() -> None:
    c, d = (
        coactivation_graph(tensor([[0.2, 0.4, 0.6, 0.8, 1.0]])),
        coactivation_graph(tensor([[0.1, 0.3, 0.5, 0.7, 0.9]])),
    )
    assert gw.exact(c, d).item() == pytest.approx(0.0137, abs=1e-9)
    i, j = torch.tensor(list(product(range(5), range(5)))).T
    everywhere = gw.Pieces(i, j, tensor([1 / 25] * 25))
    assert gw.coupling_cost(c, d, everywhere).item() == pytest.approx(0.1225, abs=1e-9)


@pytest.mark.parametrize("n", [2, 6, 16])
def test_vector_of_blocks_against_one_half(n: int) -> None:
    blocks = torch.block_diag(*[torch.ones(n // 2, n // 2, dtype=torch.float64)] * 2)
    half = torch.full((n, n), 0.5, dtype=torch.float64)
    assert gw.slb(blocks, half).item() == pytest.approx(0.25, abs=1e-9)
    assert gw.proj(blocks, half).item() == pytest.approx(0.25, abs=1e-9)


@given(seeds, st.integers(2, 5), st.integers(1, 8), st.sampled_from([0.0, 0.5]))
@settings(max_examples=60, deadline=None)
def test_bounds_keep_their_order(seed: int, n: int, positions: int, shift: float) -> None:
    c, d = graph(n, positions, seed, shift), graph(n, positions + 1, seed + 1, shift)
    f, g = c.mean(-1), d.mean(-1)
    flb, anova, proj = gw.flb(f, g).item(), gw.anova(f, g).item(), gw.proj(c, d).item()
    slb, tlb, optimum = gw.slb(c, d).item(), gw.tlb(c, d), brute_force(c, d)
    above = gw.coupling_cost(c, d, gw.sorted_coupling(c, d)).item()
    for low, high in (
        (flb, anova),
        (anova, proj),
        (proj, optimum),
        (slb, tlb),
        (flb, tlb),
        (tlb, optimum),
        (optimum, above),
    ):
        assert low <= high + 1e-12


@given(seeds, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_bounds_hold_for_weights_and_unequal_sizes(seed: int, n: int, m: int) -> None:
    c, d = graph(n, 3, seed, 0.3), graph(m, 4, seed + 1, 0.3)
    p, q = weights(n, seed + 2), weights(m, seed + 3)
    bounds = [
        gw.anova(c @ p, d @ q, p, q).item(),
        gw.proj(c, d, p, q).item(),
        gw.slb(c, d, p, q).item(),
        gw.tlb(c, d, p, q),
    ]
    found: Any = ot.gromov_wasserstein2(c.numpy(), d.numpy(), p.numpy(), q.numpy(), tol_rel=1e-12, tol_abs=1e-12)
    above = min(float(found), gw.coupling_cost(c, d, gw.sorted_coupling(c, d, p, q)).item())
    assert max(bounds) <= above + 1e-10


def test_weights_that_are_uniform_change_nothing() -> None:
    for n, m in ((4, 4), (3, 5)):
        c, d = graph(n, 3, 1), graph(m, 3, 2)
        p, q = torch.full((n,), 1 / n, dtype=torch.float64), torch.full((m,), 1 / m, dtype=torch.float64)
        for bound in (gw.slb, gw.proj, gw.tlb):
            assert float(bound(c, d)) == pytest.approx(float(bound(c, d, p, q)), abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 7)])
def test_slb_is_transport_between_entries(n: int, m: int) -> None:
    c, d, p, q = graph(n, 3, 1), graph(m, 3, 2), weights(n, 3), weights(m, 4)
    pp, qq = torch.outer(p, p).flatten().numpy(), torch.outer(q, q).flatten().numpy()
    expected: Any = ot.wasserstein_1d(c.flatten().numpy(), d.flatten().numpy(), pp, qq, p=2)
    assert gw.slb(c, d, p, q).item() == pytest.approx(float(expected), abs=1e-10)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (3, 6)])
def test_transport_cost_is_that_of_pot_and_never_above(n: int, m: int) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cost, p, q = rng.random((n, m)), weights(n, seed).numpy(), weights(m, seed + 99).numpy()
        best: Any = ot.emd2(p, q, cost)
        assert gw.transport_cost(cost, p, q) == pytest.approx(float(best), abs=1e-10)
        even: Any = ot.emd2(np.full(n, 1 / n), np.full(m, 1 / m), cost)
        assert gw.transport_cost(cost) == pytest.approx(float(even), abs=1e-10)


@given(seeds, st.integers(2, 5), st.sampled_from([1, -1]))
@settings(max_examples=40, deadline=None)
def test_exact_is_the_optimum_of_rank_nodes(seed: int, n: int, sign: int) -> None:
    c, d = (coactivation_graph(rank_logits(t, n, seed=seed + t, sign=sign)) for t in (3, 4))
    relabelled = d[torch.arange(n).flip(0)][:, torch.arange(n).flip(0)]
    value = gw.exact(c, relabelled).item()
    assert value == pytest.approx(brute_force(c, d), abs=1e-12)
    assert value == pytest.approx(gw.tlb(c, d), abs=1e-12)
    absolute = gw.coupling_cost(c, d, gw.sorted_coupling(c, d), power=1).item()
    assert absolute == pytest.approx(brute_force(c, d, power=1), abs=1e-12)


def test_exact_of_unequal_sizes_and_weights_is_below_every_coupling() -> None:
    for seed in range(10):
        c, d = coactivation_graph(rank_logits(3, 4, seed=seed)), coactivation_graph(rank_logits(5, 7, seed=seed + 50))
        p, q = weights(4, seed), weights(7, seed + 1)
        value = gw.exact(c, d, p, q).item()
        found: Any = ot.gromov_wasserstein2(c.numpy(), d.numpy(), p.numpy(), q.numpy())
        assert gw.tlb(c, d, p, q) - 1e-10 <= value <= float(found) + 1e-10
        assert value == pytest.approx(gw.tlb(c, d, p, q), abs=1e-10)


def test_slb_may_be_below_exact_on_rank_nodes() -> None:
    """The comonotone coupling pairs entries by position, SLB by size."""
    ratios = [
        gw.slb(c, d).item() / gw.exact(c, d).item()
        for c, d in (
            (coactivation_graph(rank_logits(1, 4, seed=s)), coactivation_graph(rank_logits(4, 4, seed=s + 9) ** 9))
            for s in range(40)
        )
    ]
    assert min(ratios) < 0.95
    assert max(ratios) <= 1 + 1e-9


def test_exact_refuses_what_is_not_rank_monotone() -> None:
    c, d = INTEGER
    assert not gw.is_rank_monotone(c)
    with pytest.raises(InputError, match="C is not"):
        gw.exact(c, d)
    swap, identity = tensor([[0, 1], [1, 0]]), torch.eye(2, dtype=torch.float64)
    assert [bool(gw.is_rank_monotone(x)) for x in (swap, identity, torch.ones(3, 3))] == [False, False, True]


@pytest.mark.parametrize("name", ["slb", "exact"])
@pytest.mark.parametrize("m", [3, 4])
def test_gradients(name: str, m: int) -> None:
    z, y = rank_logits(5, 4, seed=1).requires_grad_(), rank_logits(6, m, seed=2).requires_grad_()
    p, q = weights(4, 5), weights(m, 6)
    distance = getattr(gw, name)
    for w in ((), (p, q)):
        assert torch.autograd.gradcheck(
            lambda z, y, w=w: distance(coactivation_graph(z), coactivation_graph(y), *w), (z, y)
        )


@pytest.mark.parametrize("name", ["slb", "exact"])
def test_tied_nodes(name: str) -> None:
    """Ties change no value, no gradient is lost, and a step along the gradient descends."""
    z = tensor([[0.9, 0.5, 0.5, 0.1], [0.7, 0.7, 0.7, 0.2]]).requires_grad_()
    target = coactivation_graph(rank_logits(3, 4, seed=3))
    distance = getattr(gw, name)
    value = distance(coactivation_graph(z), target)
    (slope,) = torch.autograd.grad(value, z)
    assert slope.isfinite().all()
    stepped = distance(coactivation_graph((z - 1e-5 * slope).sort(-1, descending=True).values), target)
    assert stepped < value
    same = distance(coactivation_graph(z), coactivation_graph(z.detach()))
    assert same.item() == 0
    assert torch.autograd.grad(same, z)[0].abs().max() == 0


def test_batches() -> None:
    z, y, wide = rank_logits(3, 5, 4, seed=1), rank_logits(3, 6, 4, seed=2), rank_logits(3, 6, 5, seed=3)
    for other in (y, wide):
        c, d = coactivation_graph(z), coactivation_graph(other)
        for distance in (gw.slb, gw.exact):
            assert distance(c, d).shape == (3,)
            assert distance(c, d)[1].item() == pytest.approx(distance(c[1], d[1]).item(), abs=1e-12)
    assert gw.is_rank_monotone(coactivation_graph(z)).tolist() == [True] * 3


def loss_signals(shift: float = 0.0) -> tuple[PivotSignal, Signal]:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    values = [rank_logits(2, 3, 4, seed=seed) - shift for seed in (1, 2)]
    lse = [v.logsumexp(-1) + 0.1 for v in values]
    ids = torch.arange(4).expand(2, 3, 4)
    zero = torch.zeros(2, 3, dtype=torch.float64)
    return PivotSignal(values=values[0], mask=mask, ids=ids, lse=lse[0], nll=zero), Signal(
        values=values[1], mask=mask, lse=lse[1]
    )


def test_loss_with_exact_distance_is_the_sum_of_both_sequences() -> None:
    pivot, source = loss_signals()
    expected = 0.0
    for b, length in enumerate((2, 3)):
        graphs = [
            coactivation_graph((s.values - s.need("lse")[..., None])[b, :length], "mean") for s in (pivot, source)
        ]
        expected += gw.exact(*graphs).item()
    assert Gld(distance="exact")(pivot, source).item() == pytest.approx(expected, abs=1e-12)


def test_loss_refuses_the_exact_distance_of_logits_of_two_signs() -> None:
    pivot, source = loss_signals(shift=0.5)
    with pytest.raises(InputError, match="logprob or softmax"):
        Gld(distance="exact", values="raw")(pivot, source)
    assert Gld(distance="exact", values="logprob")(pivot, source).item() > 0
