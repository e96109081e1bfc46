"""The contract that every loss keeps, and what each loss does and does not see."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gldfusion.align import Encoded
from gldfusion.errors import InputError
from gldfusion.graph import Edges, node_features, shuffled_edges
from gldfusion.kernels import topk_cross_entropy
from gldfusion.losses import LOSSES, Loss, make_loss
from gldfusion.losses.gld import Gld
from gldfusion.losses.kl import Kl
from gldfusion.losses.sft import Sft
from gldfusion.losses.uld import Uld
from gldfusion.signals import END, PivotSignal, Signal, at_pairs

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in LOSSES),
    ("uld", {"standardize": "topk", "temperature": 2.0}),
    ("uld", {"standardize": "vocabulary", "k": 3}),
    ("kl", {"temperature": 2.0}),
    ("gkd", {"beta": 0.1, "temperature": 2.0}),
    ("minced", {"select": "average"}),
    *(("gld", {"values": values}) for values in ("raw", "standard", "softmax")),
    *(("gld", {"aggregate": aggregate}) for aggregate in ("sum", "trace", "max")),
    *(("gld", {"distance": distance}) for distance in ("flb", "anova", "slb", "exact")),
    ("gld", {"edges": "constant", "distance": "slb"}),
    ("gld", {"edges": "constant", "k": 3}),
    *(("gld", {"edges": "shuffled", "distance": distance}) for distance in ("ggw", "slb")),
    *(("gld", {"positions": "paired", "distance": distance}) for distance in ("ggw", "slb")),
    *(("gld", {"adapt": "entropy", "values": values}) for values in ("logprob", "softmax")),
    *(("gld", {"nodes": "vocab", "values": values}) for values in ("raw", "standard", "softmax")),
    *(("gld", {"nodes": "vocab", "values": "softmax", "aggregate": a}) for a in ("sum", "trace", "max")),
    *(("gld", {"nodes": "vocab", "values": "raw", "distance": d}) for d in ("flb", "anova", "slb")),
    *(("gld", {"nodes": "vocab", "values": "raw", "edges": edges}) for edges in ("constant", "shuffled")),
    ("gld", {"nodes": "vocab", "values": "raw", "positions": "paired"}),
    ("gld", {"nodes": "vocab", "values": "softmax", "adapt": "entropy", "k": 4}),
    *(("alm", {"divergence": divergence, "temperature": 3.0}) for divergence in ("kl", "reverse_kl", "tv")),
    ("shared_kd", {"rest": "renormalise"}),
    ("gold", {"beta": 0.2, "matched_weight": 0.7, "merge": "first"}),
    ("xtoken", {"form": "hkl"}),
    *(("gld_local", {"window": window, "values": "prob"}) for window in (1, 2, 100, "all")),
    *(("gld_local", {"labelled": False, "window": window}) for window in (1, "all")),
    *(("gld_local", {"form": "features", "window": window, "values": "prob"}) for window in (1, 2, "all")),
    ("gld_local", {"form": "features", "labelled": False, "window": 2, "values": "prob"}),
]
WITH_SOURCE = [case for case in CASES if LOSSES[case[0]].needs_source]
K = 5


def randn(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def signal(logits: Tensor, mask: Tensor, k: int = K, labels: Tensor | None = None) -> PivotSignal:
    """Everything that any loss needs, from logits [B, T, V]: the kernel with the identity as output embedding."""
    labels = torch.zeros_like(mask, dtype=torch.long) if labels is None else labels
    eye = torch.eye(logits.shape[-1], dtype=logits.dtype)
    flat = topk_cross_entropy(logits.flatten(0, 1), eye, labels.masked_fill(~mask, -100).flatten(), k)
    nll, values, ids, lse, mean, std = (
        t.unflatten(0, mask.shape) for t in (flat.nll, flat.values, flat.ids, flat.lse, flat.mean, flat.std)
    )
    held = {"values": values, "ids": ids, "mapped": ids, "lse": lse, "mean": mean, "std": std, "labels": labels}
    held |= {"projected": ids, "shares": torch.ones_like(values)}
    return PivotSignal(mask=mask, nll=nll, logits=logits, **held)


@dataclass(frozen=True)
class Batch:
    """Logits and masks of pivot and source, and the pairs."""

    pivot: Tensor
    source: Tensor
    pivot_mask: Tensor
    source_mask: Tensor
    pairs: Tensor

    def run(self, loss: Loss, k: int = K) -> Tensor:
        return loss(signal(self.pivot, self.pivot_mask, k), signal(self.source, self.source_mask, k), self.pairs)

    def count(self, loss: Loss) -> int:
        return loss.count(self.pivot_mask, self.source_mask, self.pairs)

    def rows(self, *rows: int) -> Batch:
        return Batch(*(getattr(self, name)[list(rows)] for name in self.__dataclass_fields__))


def batch(vocabulary: int = 9) -> Batch:
    """Four sequences of unequal length, the last without a labelled source position; two are read to their end."""
    pivot_mask = torch.arange(6) < torch.tensor([6, 2, 4, 3])[:, None]
    source_mask = torch.arange(5) < torch.tensor([5, 3, 1, 0])[:, None]
    rows = [[(0, 0), (2, 1), (3, 3), (5, 4), (END, END)], [(0, 0), (1, 2), (END, END)], [(2, 0)], []]
    pairs = torch.tensor([row + [(-1, -1)] * (5 - len(row)) for row in rows])
    return Batch(randn(4, 6, vocabulary, seed=0), randn(4, 5, vocabulary, seed=1), pivot_mask, source_mask, pairs)


def identical() -> Batch:
    """`batch` with the pivot's own logits as source: every position paired with itself, all texts read to the end."""
    one = batch()
    pairs = torch.tensor([*((i, i) for i in range(6)), (END, END)]).expand(4, 7, 2)
    return replace(one, source=one.pivot, source_mask=one.pivot_mask, pairs=pairs)


def loss_and_gradient(loss: Loss, one: Batch) -> tuple[float, Tensor]:
    pivot = one.pivot.clone().requires_grad_()
    value = replace(one, pivot=pivot).run(loss)
    return value.item(), torch.autograd.grad(value, pivot)[0]


def test_every_loss_says_what_it_is() -> None:
    for name in LOSSES:
        loss = make_loss(name)
        assert loss.citation
        assert loss.formula
        assert loss.needs <= {"ids", "lse", "moments", "logits", "mapped", "labels", "nll", "shared", "projected"}


@pytest.mark.parametrize(("name", "options"), [one for one in WITH_SOURCE if one[1].get("edges") != "shuffled"])
def test_an_identical_source_gives_no_loss_and_no_gradient(name: str, options: dict[str, Any]) -> None:
    loss = make_loss(name, options)
    value, gradient = loss_and_gradient(loss, identical())
    assert abs(value) < 1e-12
    assert gradient.abs().max() < 1e-12
    other, other_gradient = loss_and_gradient(loss, batch())
    assert other > 1e-3
    assert other_gradient.abs().max() > 1e-4


def assert_mask_respected(loss: Loss) -> None:
    """Garbage at masked positions leaves the loss, and the gradient at every tensor of the signal, bit for bit."""
    one = batch()
    pivot, source = signal(one.pivot, one.pivot_mask), signal(one.source, one.source_mask)
    value, gradients = value_and_signal_gradients(loss, pivot, source, one.pairs)
    for garbage in (torch.nan, torch.inf, 1e9):
        spoilt = value_and_signal_gradients(loss, spoil(pivot, garbage), spoil(source, garbage), one.pairs)
        assert spoilt[0] == value
        for gradient, clean in zip(spoilt[1], gradients, strict=True):
            assert gradient.equal(clean)
            assert gradient[~one.pivot_mask].eq(0).all()


def value_and_signal_gradients(
    loss: Loss, pivot: PivotSignal, source: Signal, pairs: Tensor
) -> tuple[float, tuple[Tensor, ...]]:
    """With the signal's own tensors as leaves: nothing upstream may hide a NaN."""
    pivot = pivot.map(lambda t: t.detach().clone().requires_grad_() if t.is_floating_point() else t)
    value = loss(pivot, source, pairs)
    held = [getattr(pivot, field.name) for field in fields(pivot)]
    leaves = [tensor for tensor in held if isinstance(tensor, Tensor) and tensor.is_floating_point()]
    return value.item(), torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)


def spoil(one: PivotSignal, garbage: float) -> PivotSignal:
    def fill(tensor: Tensor) -> Tensor:
        mask = one.mask if tensor.ndim == 2 else one.mask[..., None]
        return torch.where(mask, tensor, garbage) if tensor.is_floating_point() else tensor

    return one.map(fill)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_masked_positions_are_not_seen(name: str, options: dict[str, Any]) -> None:
    assert_mask_respected(make_loss(name, options))


class SftWithoutMask(Sft):
    def __call__(self, pivot: PivotSignal, source: Signal | None = None, pairs: Tensor | None = None) -> Tensor:
        return pivot.nll.sum()


class UldWithoutMask(Uld):
    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        assert source is not None
        unmasked = torch.ones_like(pivot.mask), torch.ones_like(source.mask)
        everything = torch.arange(5)[None, :, None].expand(4, 5, 2)
        return super().__call__(replace(pivot, mask=unmasked[0]), replace(source, mask=unmasked[1]), everything)


class GldWithoutMask(Gld):
    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None = None) -> Tensor:
        return super().__call__(replace(pivot, mask=torch.ones_like(pivot.mask)), source, pairs)


@pytest.mark.parametrize("planted", [SftWithoutMask(), UldWithoutMask(), GldWithoutMask()])
def test_an_ignored_mask_is_caught(planted: Loss) -> None:
    with pytest.raises(AssertionError):
        assert_mask_respected(planted)


def assert_padding_is_free(loss: Loss) -> None:
    """Three masked positions more at the end of every sequence change nothing."""
    one = batch()
    longer = replace(
        one,
        pivot=torch.cat([one.pivot, torch.zeros(4, 3, 9).double()], 1),
        pivot_mask=torch.cat([one.pivot_mask, torch.zeros(4, 3).bool()], 1),
        pairs=torch.cat([one.pairs, torch.full((4, 3, 2), -1)], 1),
    )
    assert longer.count(loss) == one.count(loss)
    assert longer.run(loss).item() == pytest.approx(one.run(loss).item(), abs=1e-12)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_padding_is_free(name: str, options: dict[str, Any]) -> None:
    assert_padding_is_free(make_loss(name, options))


class SftCountingPadding(Sft):
    def count(self, pivot_mask: Tensor, source_mask: Tensor | None = None, pairs: Tensor | None = None) -> int:
        return pivot_mask.numel()


class GldCountingPadding(Gld):
    def _features(self, signal: Signal, edges: Edges) -> Tensor:
        z = self._node_values(signal.cleared())
        return node_features(torch.where(signal.mask[..., None], z, 0), aggregate=self.aggregate)  # T with padding


@pytest.mark.parametrize("planted", [SftCountingPadding(), GldCountingPadding()])
def test_counted_padding_is_caught(planted: Loss) -> None:
    with pytest.raises(AssertionError):
        assert_padding_is_free(planted)


def assert_split_equals_whole(loss: Loss, reduce: Callable[[list[Tensor], list[int]], Tensor]) -> None:
    """Micro-batches reduced by the training loop give the value and the gradient of the whole batch."""
    one = batch()
    one = replace(one, pivot=one.pivot.requires_grad_())
    whole = one.run(loss) / one.count(loss)
    parts = [one.rows(0), one.rows(1, 3), one.rows(2)]
    split = reduce([part.run(loss) for part in parts], [part.count(loss) for part in parts])
    torch.testing.assert_close(split, whole, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(value, one.pivot)[0] for value in (split, whole)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


def global_mean(sums: list[Tensor], counts: list[int]) -> Tensor:
    return torch.stack(sums).sum() / sum(counts)


def mean_of_means(sums: list[Tensor], counts: list[int]) -> Tensor:
    return torch.stack([total / count for total, count in zip(sums, counts, strict=True)]).mean()


@pytest.mark.parametrize(("name", "options"), CASES)
def test_accumulated_micro_batches_equal_one_batch(name: str, options: dict[str, Any]) -> None:
    assert_split_equals_whole(make_loss(name, options), global_mean)


@pytest.mark.parametrize("name", ["sft", "uld", "kl"])
def test_means_per_micro_batch_are_caught(name: str) -> None:
    with pytest.raises(AssertionError):
        assert_split_equals_whole(make_loss(name), mean_of_means)


def test_counts() -> None:
    one = batch()
    assert [one.count(make_loss(name)) for name in ("sft", "uld", "gld", "kl")] == [15, 7, 3, 7]
    assert [one.count(make_loss(name)) for name in ("gld_local", "alm", "gold", "shared_kd")] == [7, 6, 6, 2]
    masked_out = replace(one, source_mask=one.source_mask & (torch.arange(5) != 3))
    assert masked_out.count(make_loss("uld")) == 6


@pytest.mark.parametrize(("name", "options"), CASES)
def test_no_units_give_zero_and_a_zero_gradient(name: str, options: dict[str, Any]) -> None:
    one = batch().rows(3)
    one = replace(one, pivot_mask=torch.zeros_like(one.pivot_mask))
    value, gradient = loss_and_gradient(make_loss(name, options), one)
    assert one.count(make_loss(name, options)) == 0
    assert value == 0
    assert gradient.eq(0).all()


def assert_gradient_is_of_the_reported_loss(loss: Loss, *rows: int) -> None:
    one = batch().rows(*rows)
    run = lambda pivot: replace(one, pivot=pivot).run(loss)  # noqa: E731
    assert torch.autograd.gradcheck(run, one.pivot.requires_grad_(), fast_mode=True)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_gradient_is_that_of_the_reported_loss(name: str, options: dict[str, Any]) -> None:
    assert_gradient_is_of_the_reported_loss(make_loss(name, options), 0, 2)


class UldReportingTemperatureSquared(Uld):
    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        loss = super().__call__(pivot, source, pairs)
        return loss + (self.temperature**2 - 1) * loss.detach()


def test_a_factor_in_the_loss_but_not_in_the_gradient_is_caught() -> None:
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        assert_gradient_is_of_the_reported_loss(UldReportingTemperatureSquared(temperature=2.0), 2)


def toy_logits(ids: list[int]) -> Tensor:
    """A causal model of 12 tokens: what comes after `ids[j]` depends on `ids[j]` alone."""
    return randn(12, 12, seed=7)[ids]


def signal_of(encoded: Encoded, positions: Sequence[int]) -> PivotSignal:
    logits = toy_logits(encoded.ids)[list(positions)][None]
    labels = torch.tensor([encoded.ids[encoded.n_prompt :]])
    return signal(logits, torch.ones(1, len(positions), dtype=torch.bool), labels=labels)


@pytest.mark.parametrize("name", ["sft", "uld", "gld", "kl"])
def test_unshifted_labels_are_caught(name: str) -> None:
    """The same model with a longer prompt is an identical source, if both read the outputs that predict the labels."""
    response, starts = [1, 5, 2, 8, 3], [0, 1, 2, 3, 4]
    ours = Encoded([9, 4, *response], 2, starts, False)
    theirs = Encoded([0, 9, 9, 4, *response], 4, starts, False)
    pairs = torch.tensor([[[i, i] for i in range(5)]])
    pivot, source = signal_of(ours, ours.predicting), signal_of(theirs, theirs.predicting)
    unshifted = signal_of(theirs, range(theirs.n_prompt, len(theirs.ids)))  # the planted bug
    if name == "sft":
        right = -toy_logits(ours.ids).log_softmax(-1)[[1, 2, 3, 4, 5], response].sum()
        assert Sft()(source).item() == pytest.approx(right.item())
        assert Sft()(unshifted).item() != pytest.approx(right.item())
    else:
        assert make_loss(name)(pivot, source, pairs).item() == pytest.approx(0, abs=1e-12)
        assert make_loss(name)(pivot, unshifted, pairs).item() > 0.01


@pytest.mark.parametrize(
    ("name", "options", "blind"),
    [
        ("uld", {}, True),
        ("uld", {"standardize": "topk"}, True),
        ("kl", {}, True),
        ("gld", {"values": "logprob"}, True),
        ("gld", {"values": "standard"}, True),
        ("gld", {"values": "softmax"}, True),
        ("gld", {"values": "raw"}, False),
    ],
)
def test_gauge(name: str, options: dict[str, Any], blind: bool) -> None:
    """z + const is the same distribution: an identical source hides the difference, a shifted one shows it."""
    one = identical()
    value = replace(one, source=one.source + 3).run(make_loss(name, options)).item()
    assert (abs(value) < 1e-9) is blind  # the gradient of |x| at a rounding error x says nothing


@pytest.mark.parametrize(("name", "sees"), [("uld", False), ("gld", False), ("kl", True)])
def test_who_sees_permuted_ids(name: str, sees: bool) -> None:
    one = batch()
    permuted = replace(one, source=one.source[..., torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])])
    loss = make_loss(name)
    assert (permuted.run(loss).item() != pytest.approx(one.run(loss).item(), abs=1e-9)) is sees


def test_uld_written_out() -> None:
    one = batch()
    pivot, source = signal(one.pivot, one.pivot_mask), signal(one.source, one.source_mask)
    expected = 0.0
    for b, row in enumerate(one.pairs.tolist()):
        for i, j in row:
            if i >= 0:
                ours = sorted(torch.softmax(pivot.values[b, i] / 2, -1).tolist())
                theirs = sorted(torch.softmax(source.values[b, j] / 2, -1).tolist())
                expected += sum(abs(x - y) for x, y in zip(ours, theirs, strict=True))
    assert one.run(make_loss("uld", {"temperature": 2})).item() == pytest.approx(expected)


def test_uld_standardises_equal_logits_without_nan() -> None:
    one = batch()
    one = replace(one, pivot=torch.zeros_like(one.pivot))
    value, gradient = loss_and_gradient(Uld(standardize="topk"), one)
    assert value > 0.1
    assert gradient.isfinite().all()


def test_uld_pads_the_narrower_vocabulary() -> None:
    """Full ULD: both vocabularies whole; logits that no token has (padding of the embedding) change nothing."""
    one = batch()
    pivot, source = signal(one.pivot, one.pivot_mask, 9), signal(one.source, one.source_mask, 9)
    padded = torch.cat([one.source, torch.full((4, 5, 3), -1e4).double()], -1)
    wider = signal(padded, one.source_mask, 12)
    assert Uld()(pivot, wider, one.pairs).item() == pytest.approx(Uld()(pivot, source, one.pairs).item())
    narrow = signal(one.source, one.source_mask, 3)
    cut = torch.softmax(source.values[..., :3], -1)
    expected = Uld()(pivot, replace(source, values=torch.cat([cut, torch.full((4, 5, 6), 1e-30)], -1).log()), one.pairs)
    assert Uld()(pivot, narrow, one.pairs).item() == pytest.approx(expected.item())


def test_gld_written_out() -> None:
    one = batch()
    expected = 0.0
    for b in range(3):
        features = []
        for logits, mask in ((one.pivot, one.pivot_mask), (one.source, one.source_mask)):
            z = logits[b][mask[b]].log_softmax(-1).topk(K).values
            graph = z.T @ z / len(z)
            features.append(sorted(graph.mean(-1).tolist()))
        expected += sum(abs(f - g) for f, g in zip(*features, strict=True))
    assert one.run(Gld()).item() == pytest.approx(expected)


def test_gld_values_standardised_over_the_kept_k_would_carry_nothing() -> None:
    values = signal(batch().pivot, batch().pivot_mask).values
    kept = (values - values.mean(-1, keepdim=True)) / values.std(-1, correction=0, keepdim=True)
    assert node_features(kept, aggregate="mean").abs().max() < 1e-12
    assert batch().run(Gld(values="standard")).item() > 0.1


def test_gld_softmax_values_carry_mean_probabilities_only() -> None:
    probabilities = torch.softmax(signal(batch().pivot, batch().pivot_mask).values, -1)
    torch.testing.assert_close(node_features(probabilities, aggregate="mean"), probabilities.mean(1) / K)


def test_constant_edges_leave_one_number_of_each_graph() -> None:
    one = batch()
    expected = 0.0
    for b in range(3):
        flat = []
        for logits, mask in ((one.pivot, one.pivot_mask), (one.source, one.source_mask)):
            z = logits[b][mask[b]].log_softmax(-1).topk(K).values
            flat.append((z.T @ z / len(z)).mean().item())
        expected += K * abs(flat[0] - flat[1])
    assert one.run(Gld(edges="constant")).item() == pytest.approx(expected)
    assert one.run(Gld()).item() != pytest.approx(expected)


def test_shuffled_edges_are_those_of_the_source_only() -> None:
    one = batch()
    expected = 0.0
    for b in range(3):
        pivot, source = (
            (z.T @ z / len(z))
            for z in (
                logits[b][mask[b]].log_softmax(-1).topk(K).values
                for logits, mask in ((one.pivot, one.pivot_mask), (one.source, one.source_mask))
            )
        )
        f, g = pivot.mean(-1).sort().values, shuffled_edges(source).mean(-1).sort().values
        expected += float((f - g).abs().sum())
    assert one.run(Gld(edges="shuffled")).item() == pytest.approx(expected)
    assert one.run(Gld()).item() != pytest.approx(expected)


def test_paired_positions_make_graphs_of_equally_many_positions() -> None:
    one = batch()
    expected = 0.0
    for b in range(3):
        features = []
        real = [(i, j) for i, j in one.pairs[b].tolist() if min(i, j) >= 0]
        assert all(one.pivot_mask[b, i] and one.source_mask[b, j] for i, j in real)
        for logits, side in ((one.pivot, 0), (one.source, 1)):
            z = logits[b][[pair[side] for pair in real]].log_softmax(-1).topk(K).values
            features.append((z.T @ z / len(z)).mean(-1).sort().values)
        expected += float((features[0] - features[1]).abs().sum())
    assert one.run(Gld(positions="paired")).item() == pytest.approx(expected)
    assert one.run(Gld()).item() != pytest.approx(expected)


def test_gld_refuses_unequal_k_for_the_unnormalised_sum() -> None:
    one = batch()
    pivot, source = signal(one.pivot, one.pivot_mask, 5), signal(one.source, one.source_mask, 4)
    with pytest.raises(InputError, match="pivot 5, source 4\nset k: 4"):
        Gld()(pivot, source)
    assert Gld(k=4)(pivot, source).item() > 0
    assert Gld(distance="flb")(pivot, source).item() > 0


def test_kl_is_the_full_divergence_when_the_source_keeps_its_vocabulary() -> None:
    one = batch()
    pivot, source, valid = at_pairs(signal(one.pivot, one.pivot_mask), signal(one.source, one.source_mask), one.pairs)
    assert isinstance(source, PivotSignal)
    assert pivot.logits is not None
    assert source.logits is not None
    for tau in (1.0, 2.0):
        ours, theirs = ((s[valid] / tau).log_softmax(-1) for s in (pivot.logits, source.logits))
        full = (theirs.exp() * (theirs - ours)).sum().item()
        # at tau 2 the empty tail bucket weighs eps^(1/2)
        assert one.run(Kl(temperature=tau), k=9).item() == pytest.approx(full, abs=1e-6)
    assert one.run(Kl(), k=3).item() < one.run(Kl(), k=9).item()


def test_kl_and_output_layers_padded_to_different_sizes() -> None:
    one = identical()
    padded = torch.cat([one.source, torch.full((4, 6, 4), -1e4).double()], -1)
    pivot, source = signal(one.pivot, one.pivot_mask), signal(padded, one.source_mask)
    assert Kl()(pivot, source, one.pairs).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["kl", "gkd"])
def test_ids_without_a_token_belong_to_the_rest(name: str) -> None:
    """The source gives half of its probability to rows that the pivot does not have, or that stand for no token."""
    one = replace(batch(), pivot=batch().pivot.requires_grad_())
    loss, pivot = make_loss(name), signal(one.pivot, one.pivot_mask)
    half = torch.log_softmax(one.source, -1) + math.log(0.5)
    wide = torch.cat([half, (half.exp().sum(-1, keepdim=True) / 3).log().expand(-1, -1, 3)], -1)
    source = signal(wide, one.source_mask)  # keeps ids above the pivot's 9
    assert int(source.need("ids").max()) >= one.pivot.shape[-1]
    found = loss(pivot, source, one.pairs)
    unnamed = replace(source, ids=torch.where(source.need("ids") < one.pivot.shape[-1], source.need("ids"), -1))
    assert loss(pivot, unnamed, one.pairs).item() == found.item()
    assert found.item() == pytest.approx(with_rest(name, one, source), rel=1e-9)
    (gradient,) = torch.autograd.grad(loss(pivot, source, one.pairs), one.pivot)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def with_rest(name: str, one: Batch, source: Signal) -> float:
    """The loss from its definition, with one dictionary of probabilities for each position."""
    total, size = 0.0, one.pivot.shape[-1]
    for b, pairs in enumerate(one.pairs.tolist()):
        for i, j in pairs:
            if min(i, j) < 0 or not (one.pivot_mask[b, i] and one.source_mask[b, j]):
                continue
            ids, kept = source.need("ids")[b, j].tolist(), probabilities(source)[b, j].tolist()
            theirs = {v: p for v, p in zip(ids, kept, strict=True) if v < size}
            ours = {v: float(torch.softmax(one.pivot.detach()[b, i], -1)[v]) for v in theirs}
            pairs_of = [(theirs[v], ours[v]) for v in theirs] + [(1 - sum(theirs.values()), 1 - sum(ours.values()))]
            for p, q in pairs_of:
                middle = q if name == "kl" else (p + q) / 2
                total += (1.0 if name == "kl" else 0.5) * p * math.log(p / middle)
                total += 0.0 if name == "kl" else 0.5 * q * math.log(q / middle)
    return total


def probabilities(source: Signal) -> torch.Tensor:
    """The probabilities of the kept ids."""
    return (source.values - source.need("lse")[..., None]).exp()


def test_a_half_precision_source_is_compared_in_the_pivots_precision() -> None:
    one = batch()
    pivot, source = signal(one.pivot, one.pivot_mask), signal(one.source, one.source_mask)
    for name in ("uld", "gld", "kl"):
        stored = source.as_dtype(torch.float16)
        exact = make_loss(name)(pivot, stored.as_dtype(torch.float64), one.pairs)
        assert make_loss(name)(pivot, stored, one.pairs).item() == pytest.approx(exact.item(), abs=1e-12)
        assert exact.item() == pytest.approx(one.run(make_loss(name)).item(), rel=5e-3)


def test_missing_fields_are_named() -> None:
    one = batch()
    pivot, source = signal(one.pivot, one.pivot_mask), signal(one.source, one.source_mask)
    for loss, field in ((Gld(), "lse"), (Gld(values="standard"), "mean"), (Kl(), "ids")):
        with pytest.raises(InputError, match=f"needs `{field}`"):
            loss(pivot, replace(source, **{field: None}), one.pairs)
    with pytest.raises(InputError, match="needs `logits`"):
        Kl()(replace(pivot, logits=None), source, one.pairs)
    with pytest.raises(InputError, match=r"k = 6 .* holds 5"):
        Uld(k=6)(pivot, source, one.pairs)
    with pytest.raises(InputError, match="without pairs"):
        Uld()(pivot, source, None)
    with pytest.raises(InputError, match="without a source"):
        Gld()(pivot, None)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gdl", {}, "unknown loss 'gdl' \\(did you mean \"gld\"\\?\\)"),
        ("gld", {"agregate": "mean"}, 'did you mean "aggregate"'),
        ("sft", {"k": 3}, "sft has no option 'k'; it takes no options"),
        ("gld", {"values": "logprobs"}, 'gld.values must be one of .*did you mean "logprob"'),
        ("gld", {"nodes": "token"}, "gld.nodes must be one of rank, vocab"),
        ("gld", {"nodes": "vocab", "distance": "exact"}, "exact is known for rank nodes only"),
        ("gld", {"nodes": "vocab"}, "cannot take values: logprob"),
        ("gld", {"edges": "shuffled", "distance": "exact"}, "a graph with shuffled edges is none"),
        ("gld", {"map": "mind"}, 'gld.map must be one of exact, mined, fusellm.*did you mean "mined"'),
        ("gkd", {"beta": 1.0}, "gkd.beta must be between 0 and 1"),
        ("gold", {"matched_weight": 1.5}, "gold.matched_weight must be between 0 and 1"),
        ("gld_local", {"labelled": "yes"}, "gld_local.labelled must be true or false"),
        ("gld_local", {"window": 0}, "gld_local.window must be a whole number of at least 1, or all; not 0"),
        ("gld_local", {"window": None}, "gld_local.window must be a whole number"),
        ("uld_topk", {"k": "all"}, "uld_topk.k must be a whole number of at least 1, or null for all kept logits"),
        ("minced", {"select": "max"}, "minced.select must be one of min, average"),
        ("gld", {"edges": ["graph"]}, "gld.edges must be one of graph, constant, shuffled"),
        ("gld", {"k": 0}, "gld.k must be a whole number"),
        ("uld", {"k": True}, "uld.k must be a whole number"),
        ("uld", {"k": 2.0}, "uld.k must be a whole number"),
        ("uld", {"temperature": 0}, "uld.temperature must be a positive number"),
        ("kl", {"temperature": "hot"}, "kl.temperature must be a positive number"),
        ("kl", {"temperature": float("nan")}, "kl.temperature must be a positive number"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_loss(name, options)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_refuses_an_unknown_option(name: str) -> None:
    with pytest.raises(InputError, match="has no option 'colour'"):
        make_loss(name, {"colour": 1})
