"""Node features against the co-activation graph that they never build."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.graph import Aggregate, coactivation_graph, node_features, shuffled_edges, vocabulary_nodes

AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def vocabulary_case(length: int = 7, k: int = 4, vocabulary: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """z and ids [T, k], and the dense Z [T, n] over the ids that occur."""
    values, ids = logits(length, vocabulary, seed=3).topk(k)
    dense = torch.zeros(length, vocabulary, dtype=torch.float64).scatter(1, ids, values)
    return values, ids, dense[:, ids.unique()]


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_features_are_the_graph_times_uniform_weights(aggregate: Aggregate) -> None:
    z = logits(2, 3, 5, 4)  # unsorted columns: node i stays column i
    graph = coactivation_graph(z, aggregate)
    torch.testing.assert_close(node_features(z, aggregate=aggregate), graph.mean(-1), atol=1e-12, rtol=0)


def test_aggregations_normalise_what_they_say() -> None:
    z = logits(6, 5)
    torch.testing.assert_close(coactivation_graph(z), z.T @ z)
    torch.testing.assert_close(coactivation_graph(z, "mean"), z.T @ z / 6)
    assert coactivation_graph(z, "trace").trace().item() == pytest.approx(1, abs=1e-12)
    assert coactivation_graph(z, "max").abs().max().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_vocabulary_nodes(aggregate: Aggregate) -> None:
    values, ids, dense = vocabulary_case()
    torch.testing.assert_close(vocabulary_nodes(ids), ids.unique())
    expected = coactivation_graph(dense, aggregate).mean(-1)
    torch.testing.assert_close(node_features(values, ids, aggregate), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_a_dropped_position_is_as_if_it_were_not_there(aggregate: Aggregate) -> None:
    z, mask = logits(7, 4), torch.tensor([1, 1, 0, 1, 0, 1, 0], dtype=torch.bool)
    garbage = torch.where(mask[:, None], z, torch.nan).requires_grad_()
    features = node_features(garbage, aggregate=aggregate, mask=mask)
    torch.testing.assert_close(features, node_features(z[mask], aggregate=aggregate))
    torch.testing.assert_close(coactivation_graph(garbage, aggregate, mask), coactivation_graph(z[mask], aggregate))
    features.sum().backward()
    assert garbage.grad is not None
    assert garbage.grad[~mask].eq(0).all()
    assert garbage.grad[mask].isfinite().all()


def test_a_mean_that_counts_padding_is_caught() -> None:
    z, mask = logits(7, 4), torch.arange(7) < 4
    padding_counted = node_features(torch.where(mask[:, None], z, 0), aggregate="mean")  # the planted bug
    right = node_features(z[:4], aggregate="mean")
    torch.testing.assert_close(node_features(z, aggregate="mean", mask=mask), right)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(padding_counted, right)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_dropped_positions_bring_no_vocabulary_nodes(aggregate: Aggregate) -> None:
    values, ids, _ = vocabulary_case()
    mask = torch.arange(7) < 2
    assert len(vocabulary_nodes(ids, mask)) < len(vocabulary_nodes(ids))
    expected = node_features(values[:2], ids[:2], aggregate)
    torch.testing.assert_close(node_features(values, ids, aggregate, mask), expected)


def test_constant_edges_are_the_mean_entry_of_the_graph() -> None:
    z = logits(2, 6, 5)
    graph = coactivation_graph(z, "mean")
    constant = graph.mean((-1, -2), keepdim=True).expand_as(graph)
    torch.testing.assert_close(node_features(z, aggregate="mean", edges="constant"), constant.mean(-1))
    values, ids, dense = vocabulary_case()
    flat = coactivation_graph(dense).mean().expand(dense.shape[1])
    torch.testing.assert_close(node_features(values, ids, edges="constant"), flat)


def test_shuffled_edges_keep_the_weights_but_not_their_nodes() -> None:
    z = logits(2, 6, 5)
    graph = coactivation_graph(z, "mean")
    shuffled = shuffled_edges(graph)
    rows, columns = np.triu_indices(5, 1)
    torch.testing.assert_close(shuffled, shuffled.mT)
    torch.testing.assert_close(shuffled.diagonal(dim1=-2, dim2=-1), graph.diagonal(dim1=-2, dim2=-1))
    for one, other in zip(shuffled, graph, strict=True):
        torch.testing.assert_close(one[rows, columns].sort().values, other[rows, columns].sort().values)
        assert not torch.equal(one, other)
    torch.testing.assert_close(node_features(z, aggregate="mean", edges="shuffled"), shuffled.mean(-1))
    values, ids, dense = vocabulary_case()
    expected = shuffled_edges(coactivation_graph(dense)).mean(-1)
    torch.testing.assert_close(node_features(values, ids, edges="shuffled"), expected)


def test_the_graph_is_never_built() -> None:
    z = logits(2, 300_000)  # C would hold 9e10 entries
    assert node_features(z).shape == (300_000,)
    assert node_features(z, torch.arange(300_000).expand(2, -1)).shape == (300_000,)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_gradients(aggregate: Aggregate) -> None:
    z, ids, _ = vocabulary_case(length=3, k=3, vocabulary=5)
    assert torch.autograd.gradcheck(lambda z: node_features(z, aggregate=aggregate), z.requires_grad_())
    assert torch.autograd.gradcheck(lambda z: node_features(z, ids, aggregate), z)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_an_empty_or_zero_response_has_zero_features(aggregate: Aggregate) -> None:
    for z in (torch.zeros(0, 4), torch.zeros(3, 4)):
        assert node_features(z, aggregate=aggregate).eq(0).all()
    assert node_features(logits(3, 4), aggregate=aggregate, mask=torch.zeros(3, dtype=torch.bool)).eq(0).all()


def test_bad_input() -> None:
    z = logits(3, 4)
    with pytest.raises(InputError, match='did you mean "mean"'):
        node_features(z, aggregate="meen")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="edges must be one of graph, constant, shuffled"):
        node_features(z, edges="none")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="once per sequence"):
        node_features(z[None], torch.zeros(1, 3, 4, dtype=torch.long))
