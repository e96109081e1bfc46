"""The naive top-k cross-entropy against definitions written out term by term."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.kernels import TopKCrossEntropy, topk_cross_entropy


def case(n: int = 5, width: int = 4, vocabulary: int = 11, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """hidden, weight, bias, labels (the second is ignored)"""
    random = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(*shape, dtype=torch.float64, generator=random).to(dtype).requires_grad_()
        for shape in ((n, width), (vocabulary, width), (vocabulary,))
    )
    labels = torch.randint(vocabulary, (n,), generator=random)
    labels[1] = -100
    return hidden, weight, bias, labels


def test_every_field_is_its_definition() -> None:
    hidden, weight, bias, labels = case()
    result = topk_cross_entropy(hidden, weight, labels, 3, bias=bias)
    for i in range(len(labels)):
        logits = [sum(h * w for h, w in zip(hidden[i].tolist(), row, strict=True)) for row in weight.tolist()]
        logits = [x + b for x, b in zip(logits, bias.tolist(), strict=True)]
        order = sorted(range(len(logits)), key=lambda v: -logits[v])[:3]
        lse = math.log(sum(math.exp(x) for x in logits))
        mean = sum(logits) / len(logits)
        assert result.ids[i].tolist() == order
        assert result.values[i].tolist() == pytest.approx([logits[v] for v in order])
        assert result.lse[i].item() == pytest.approx(lse)
        assert result.nll[i].item() == pytest.approx(0 if labels[i] == -100 else lse - logits[labels[i]])
        assert result.mean[i].item() == pytest.approx(mean)
        assert result.var[i].item() == pytest.approx(sum((x - mean) ** 2 for x in logits) / len(logits))
        assert result.std[i].item() == pytest.approx(result.var[i].item() ** 0.5)


@pytest.mark.parametrize("field", ["nll", "values", "lse", "mean", "var", "std"])
def test_every_floating_field_is_differentiable(field: str) -> None:
    hidden, weight, bias, labels = case(n=3, width=2, vocabulary=5)

    def run(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return getattr(topk_cross_entropy(hidden, weight, labels, 2, bias=bias), field)

    assert torch.autograd.gradcheck(run, (hidden, weight, bias))


def test_an_ignored_label_gives_no_loss_and_no_gradient() -> None:
    hidden, weight, _, labels = case()
    topk_cross_entropy(hidden, weight, labels, 3).nll.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad[1].eq(0).all()
    assert hidden.grad[0].ne(0).any()
    other = topk_cross_entropy(hidden, weight, labels.where(labels >= 0, 7), 3, ignore_index=7)
    torch.testing.assert_close(other.nll, topk_cross_entropy(hidden, weight, labels, 3).nll)


def test_the_spread_of_a_zero_row_has_a_finite_gradient() -> None:
    hidden = torch.zeros(1, 3, requires_grad=True)
    weight = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    result = topk_cross_entropy(hidden, weight, torch.zeros(1, dtype=torch.long), 2)
    result.std.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
    planted = torch.autograd.grad(topk_cross_entropy(hidden, weight, torch.zeros(1).long(), 2).var.sqrt(), hidden)[0]
    assert not planted.isfinite().all()  # what the clamp is for


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_accumulate_in_float32(dtype: torch.dtype) -> None:
    hidden, weight, bias, labels = case(width=64, vocabulary=50, dtype=dtype)

    def assert_close(result: TopKCrossEntropy) -> None:
        exact = topk_cross_entropy(hidden.double(), weight.double(), labels, 4, bias=bias.double())
        for got, want in zip(result, exact, strict=True):
            torch.testing.assert_close(got.double(), want.double(), atol=1e-4, rtol=0)

    assert_close(topk_cross_entropy(hidden, weight, labels, 4, bias=bias))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_close(topk_cross_entropy(hidden, weight, labels, 4, bias=bias))
        planted = torch.nn.functional.linear(hidden, weight, bias)  # the product left to autocast
    exact = hidden.double() @ weight.double().T + bias.double()
    with pytest.raises(AssertionError):
        torch.testing.assert_close(planted.double(), exact, atol=1e-4, rtol=0)


def test_ids_beyond_17_bits() -> None:
    weight = torch.zeros(152_064, 1)
    weight[152_000:] = torch.arange(64.0)[:, None]
    result = topk_cross_entropy(torch.ones(1, 1), weight, torch.tensor([152_063]), 2)
    assert result.ids.tolist() == [[152_063, 152_062]]


@pytest.mark.parametrize("k", [0, 12])
def test_k_outside_the_vocabulary(k: int) -> None:
    hidden, weight, _, labels = case()
    with pytest.raises(InputError, match=f"vocabulary size 11, got {k}"):
        topk_cross_entropy(hidden, weight, labels, k)
    assert topk_cross_entropy(hidden, weight, labels, 11).values.shape == (5, 11)
