"""Sorted Gromov-Wasserstein: the test vectors of the method, other libraries, and the bounds that they claim to be."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations
from typing import Any

import ot
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.graph import coactivation_graph, node_features
from gldfusion.gw import anova, flb, ggw_mean, ggw_sum


def tensor(rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def residues(row: int, power: int) -> Tensor:
    return tensor([[((t + row) * (i + 1) ** power % 7) / 7 for i in range(6)] for t in range(5)])


RANK_ONE = (tensor([[0.2, 0.4, 0.6, 0.8, 1.0]]), tensor([[0.1, 0.3, 0.5, 0.7, 0.9]]))
INTEGER = (
    tensor([[2, 1, 1, 2, 2], [0, 1, 2, 2, 2], [0, 0, 2, 0, 1]]),
    tensor([[1, 2, 1, 0, 1], [0, 1, 2, 2, 2], [1, 0, 1, 2, 2]]),
)
VECTORS = {  # name: (Z, Y, ggw_sum, FLB, ANOVA)
    "residues": (residues(1, 1), residues(2, 2), Fraction(11, 6), Fraction(1039, 10584), Fraction(6539, 63504)),
    "integer": (*INTEGER, Fraction(14, 5), Fraction(46, 125), Fraction(316, 625)),
    "rank one": (*RANK_ONE, Fraction(55, 100), Fraction(129, 10000), Fraction(137, 10000)),
}


def exact(c: Tensor, d: Tensor) -> float:
    """GW_2^2 of two PSD graphs of n nodes with uniform weights: a permutation attains it."""
    n = len(c)
    return min((c - d[list(p)][:, list(p)]).square().sum().item() for p in permutations(range(n))) / n**2


def pot_w2(f: Tensor, g: Tensor, p: Tensor, q: Tensor) -> float:
    """W_2^2 by POT, whose annotations leave open what it returns."""
    value: Any = ot.wasserstein_1d(f.numpy(), g.numpy(), p.numpy(), q.numpy(), p=2)
    return float(value)


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    z, y, total, first, second = VECTORS[name]
    f, g = node_features(z), node_features(y)
    assert ggw_sum(f, g).item() == pytest.approx(float(total), abs=1e-9)
    assert ggw_mean(f, g).item() == pytest.approx(float(total / z.shape[1]), abs=1e-9)
    assert flb(f, g).item() == pytest.approx(float(first), abs=1e-9)
    assert anova(f, g).item() == pytest.approx(float(second), abs=1e-9)


@pytest.mark.parametrize("n", [2, 6, 16])
def test_blocks_against_one_half_are_invisible_to_the_features(n: int) -> None:
    blocks = torch.block_diag(*[torch.ones(n // 2, n // 2, dtype=torch.float64)] * 2)
    f, g = blocks.mean(-1), torch.full((n,), 0.5, dtype=torch.float64)
    assert [distance(f, g).item() for distance in (ggw_sum, ggw_mean, flb, anova)] == [0, 0, 0, 0]


@pytest.mark.parametrize("n", [1, 7])
def test_ones_against_zeros(n: int) -> None:
    f, g = torch.ones(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    found = [distance(f, g).item() for distance in (ggw_sum, ggw_mean, flb, anova)]
    assert found == pytest.approx([n, 1, 1, 1], abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(1, 5), (4, 4), (6, 9), (13, 7)])
@pytest.mark.parametrize("ties", [False, True])
def test_weighted_distances_agree_with_scipy_and_pot(n: int, m: int, ties: bool) -> None:
    f, g, p, q = (random(size, seed=i + n) for i, size in enumerate((n, m, n, m)))
    f, g = ((4 * x).round() if ties else x for x in (f, g))
    for p_used, q_used in ((p / p.sum(), q / q.sum()), (None, None), (p / p.sum(), None)):
        p_full = torch.full((n,), 1 / n, dtype=torch.float64) if p_used is None else p_used
        q_full = torch.full((m,), 1 / m, dtype=torch.float64) if q_used is None else q_used
        w1 = wasserstein_distance(f.numpy(), g.numpy(), p_full.numpy(), q_full.numpy())
        w2 = pot_w2(f, g, p_full, q_full)
        shift = (p_full @ f - q_full @ g).item()
        assert ggw_mean(f, g, p_used, q_used).item() == pytest.approx(w1, abs=1e-9)
        assert flb(f, g, p_used, q_used).item() == pytest.approx(w2, abs=1e-9)
        assert anova(f, g, p_used, q_used).item() == pytest.approx(2 * w2 - shift**2, abs=1e-9)


def test_zero_weights_drop_a_node() -> None:
    f, g = tensor([1.0, 9.0, 2.0]), tensor([1.5, 2.5])
    p = tensor([0.5, 0.0, 0.5])
    assert ggw_mean(f, g, p).item() == pytest.approx(0.5)
    assert flb(f, g, p).item() == pytest.approx(0.25)


def test_bounds_hold_against_the_exact_optimum() -> None:
    for seed in range(5):
        z, y = random(3, 5, seed=seed) - 0.3, random(4, 5, seed=seed + 100)
        f, g = node_features(z), node_features(y)
        optimum = exact(coactivation_graph(z), coactivation_graph(y))
        assert flb(f, g) <= anova(f, g) + 1e-12
        assert anova(f, g) <= optimum + 1e-12
        assert ggw_mean(f, g).item() <= optimum**0.5 + 1e-12


def test_scale_and_relabelling() -> None:
    f, g = random(6, seed=1), random(6, seed=2)
    shuffled = f[torch.tensor([3, 1, 5, 0, 2, 4])]
    for distance, power in ((ggw_sum, 1), (ggw_mean, 1), (flb, 2), (anova, 2)):
        torch.testing.assert_close(distance(3 * f, 3 * g), 3**power * distance(f, g))
        torch.testing.assert_close(distance(shuffled, g), distance(f, g))


def test_batches() -> None:
    f, g, wide = random(2, 3, 6, seed=1), random(2, 3, 6, seed=2), random(2, 3, 9, seed=3)
    for distance in (ggw_sum, ggw_mean, flb, anova):
        assert distance(f, g).shape == (2, 3)
        assert distance(f, g)[1, 2].item() == pytest.approx(distance(f[1, 2], g[1, 2]).item(), abs=1e-12)
    for distance in (ggw_mean, flb, anova):
        assert distance(f, wide)[0, 1].item() == pytest.approx(distance(f[0, 1], wide[0, 1]).item(), abs=1e-12)


def test_gradients() -> None:
    f, g = random(5, seed=1).requires_grad_(), random(7, seed=2).requires_grad_()
    p, q = random(5, seed=3), random(7, seed=4)
    p, q = p / p.sum(), q / q.sum()
    assert torch.autograd.gradcheck(ggw_sum, (f, g[:5]))
    for distance in (ggw_mean, flb, anova):
        assert torch.autograd.gradcheck(distance, (f, g))
        assert torch.autograd.gradcheck(lambda f, g, d=distance: d(f, g, p, q), (f, g))


def test_equal_features_have_zero_distance_and_gradient() -> None:
    f = tensor([0.5, 0.5, 0.1, 0.9, 0.1])  # tied
    for distance in (ggw_sum, ggw_mean, flb, anova):
        mine = f.clone().requires_grad_()
        value = distance(mine, f)
        value.backward()
        assert mine.grad is not None
        assert value.item() == 0
        assert mine.grad.eq(0).all()


def test_float32_weights_that_sum_to_one_only_nearly() -> None:
    f = torch.arange(1000, dtype=torch.float32)
    p, q = torch.full((1000,), 1e-3), torch.full((999,), 1 / 999)
    assert ggw_mean(f, f.flip(0), p, p).item() == 0
    exact = ggw_mean(f.double(), f[:999].double()).item()
    assert ggw_mean(f, f[:999], p, q).item() == pytest.approx(exact, rel=1e-3)


def test_bad_input() -> None:
    f, g = random(3, seed=1), random(4, seed=2)
    with pytest.raises(InputError, match="f has 3, g has 4"):
        ggw_sum(f, g)
    with pytest.raises(InputError, match="sum to 1"):
        ggw_mean(f, g, tensor([0.5, 0.5, 0.5]))
    with pytest.raises(InputError, match="one weight per feature"):
        flb(f, g, tensor([0.5, 0.5]))
    with pytest.raises(InputError, match=r"minimum -0\.5"):
        anova(f, g, tensor([1.0, 0.5, -0.5]))
    with pytest.raises(InputError, match="1-D"):
        flb(f[None], g[None], tensor([1 / 3] * 3))
