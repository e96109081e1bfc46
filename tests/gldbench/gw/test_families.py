"""What each family promises about its graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gldbench.gw.families import FAMILIES, REAL
from gldbench.gw.families.logits import graph_of, node_values
from gldbench.gw.problem import NotApplicableError, Problem
from gldbench.gw.real import RealLogits, read_logits, real_families
from gldbench.gw.solve import solve
from gldfusion import gw
from gldfusion.errors import InputError
from gldfusion.sources import SequenceSignal


def made(name: str, size: int, seed: int = 0) -> Problem:
    return FAMILIES[name](size, np.random.default_rng(seed))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_a_function_of_its_seed_and_has_the_size_asked_for(name: str) -> None:
    size = 200 if name == "sparse-vocabulary" else 12
    one, same, other = made(name, size), made(name, size), made(name, size, seed=1)
    assert one.n == one.m == size
    assert torch.equal(one.a.features(), same.a.features())
    fixed = name in ("blocks-constant", "half-step", "blocks-all-pairs", "circulants", "stochastic-blocks")
    assert fixed or not torch.equal(one.a.features(), other.a.features())


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "sparse-vocabulary"])
def test_features_from_logits_are_those_of_the_graph(name: str) -> None:
    for graph in (made(name, 12).a, made(name, 12).b):
        assert graph.matrix is not None
        torch.testing.assert_close(graph.features(), graph.matrix.mean(-1), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(graph.matrix, graph.matrix.T)


@pytest.mark.parametrize("name", ["blocks-constant", "half-step", "blocks-all-pairs", "circulants"])
def test_the_paper_sees_nothing_of_these(name: str) -> None:
    problem = made(name, 12)
    assert gw.ggw_mean(problem.a.features(), problem.b.features()).item() == pytest.approx(0, abs=1e-12)
    assert solve(problem)["interval"][0] > 1e-3


@pytest.mark.parametrize("n", [4, 32, pytest.param(64, marks=pytest.mark.slow)])
def test_known_distances(n: int) -> None:
    step = made("half-step", n)
    assert solve(step)["exact"] == pytest.approx(0.01, abs=1e-9)
    coupling = gw.sorted_coupling(*step.matrices)
    assert gw.coupling_cost(*step.matrices, coupling, power=1).item() == pytest.approx(0.1, abs=1e-9)
    assert solve(made("blocks-constant", n))["interval"] == pytest.approx([0.25, 0.25], abs=1e-9)
    assert solve(made("permuted-copy", n))["interval"][0] == pytest.approx(0, abs=1e-12)
    with pytest.raises(NotApplicableError, match="even"):
        made("half-step", n + 1)


def test_vocabulary_nodes_of_sixteen_thousand_positions() -> None:
    problem = made("sparse-vocabulary", 1 << 12)
    assert problem.a.logits is not None
    assert problem.a.logits.shape == (64, 64)
    assert len(problem.a.features()) == 1 << 12
    with pytest.raises(NotApplicableError, match="not built"):
        _ = problem.matrices


def signals(count: int, positions: int, k: int, seed: int, lse: bool = True) -> tuple[SequenceSignal, ...]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        values = -np.sort(-rng.normal(size=(positions, k)), axis=1).astype(np.float32)
        ids = np.stack([rng.permutation(20)[:k] for _ in range(positions)])
        row = np.full(positions, 5.0 if lse else np.nan, dtype=np.float32)
        found.append(SequenceSignal(values, ids, row, row * 0, row * 0 + 1, np.full(positions, -1)))
    return tuple(found)


def test_real_logits_give_every_family() -> None:
    families = real_families(RealLogits(signals(3, 5, 4, 1), signals(3, 6, 6, 2)))
    assert tuple(families) == REAL
    rng = np.random.default_rng(0)
    rank = families["real-rank-logprob"](2, rng)
    assert (rank.n, rank.m) == (4, 4)
    assert rank.a.logits is not None
    assert len(rank.a.logits) == 10
    vocabulary = families["real-vocabulary-raw"](1, rng)
    assert vocabulary.n != vocabulary.m
    assert solve(vocabulary)["interval"][0] > 0


def test_npy_logits_have_raw_and_softmax_rank_nodes(tmp_path: Path) -> None:
    for name, rows in (("a", 4), ("b", 7)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(rows).normal(size=(rows, 5)))
    families = real_families(read_logits(tmp_path / "a.npy", tmp_path / "b.npy", None))
    rng = np.random.default_rng(0)
    assert families["real-rank-raw"](1, rng).n == 5
    assert families["real-rank-softmax"](1, rng).n == 5
    for name in ("real-rank-logprob", "real-rank-standard", "real-vocabulary-raw"):
        with pytest.raises(NotApplicableError, match="files do not hold"):
            families[name](1, rng)


def test_node_values_are_those_of_the_loss() -> None:
    from gldfusion.losses.gld import Gld
    from gldfusion.signals import Signal

    signal = signals(1, 5, 4, 3)[0]
    tensors = {n: torch.from_numpy(getattr(signal, n)).double()[None] for n in ("values", "lse", "mean", "std")}
    whole = Signal(mask=torch.ones(1, 5, dtype=torch.bool), **tensors)
    for values in ("raw", "logprob", "standard", "softmax"):
        expected = Gld(values=values)._node_values(whole)[0]
        torch.testing.assert_close(node_values(signal, values), expected)
        features = graph_of(signal, "rank", values).features()
        torch.testing.assert_close(features, Gld(values=values)._features(whole, "graph")[0])


def test_bad_logits(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.ones(3))
    (tmp_path / "text.npy").write_text("no")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("flat.npy", "T x k"),
        ("text.npy", r"as a \.npy"),
        ("empty", "needs texts"),
        ("no", "holds no"),
    ):
        with pytest.raises(InputError, match=message):
            read_logits(tmp_path / name, tmp_path / "flat.npy", None)
