"""Tiled top-k cross-entropy against the naive one: outputs, gradients, ties, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gldbench.benches.equality import CASES, SMALL, USES, Case, differences, fused, results
from gldfusion.errors import InputError
from gldfusion.kernels import chunked, dispatch, early, largest, logits_at, lookup, topk_cross_entropy
from gldfusion.kernels import fused as fused_module
from gldfusion.kernels.arguments import Inputs, Use
from gldfusion.kernels.chunked import Chunked
from gldfusion.kernels.naive import naive
from gldfusion.kernels.output_layer import Options
from gldfusion.kernels.scratch import Scratch
from gldfusion.memory import PeakMemory

TILES = {"small": SMALL, "one": Chunked(), "narrow": Chunked(rows=5, columns=2)}
EXACT = 1e-12


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("name", CASES)
def test_equal_to_naive(name: str, tiles: str, use: Use) -> None:
    found = differences(fused(TILES[tiles], use), CASES[name], torch.float64)
    assert {field for field, difference in found.items() if difference > EXACT} == set(), found


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that runs on a GPU: it may read no number, so it does not look for ties first and only asserts."""
    for module in (largest, chunked, early, dispatch):
        monkeypatch.setattr(module, "on_host", lambda tensor: False)


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize("name", CASES)
def test_what_runs_on_a_device_is_equal_to_naive(name: str) -> None:
    found = differences(fused(SMALL), CASES[name], torch.float64)
    assert {field for field, difference in found.items() if difference > EXACT} == set(), found


@pytest.mark.usefixtures("as_on_a_device")
def test_a_broken_promise_fails_on_a_device() -> None:
    *inputs, labels = Case().tensors(torch.float64)
    out = fused(SMALL, "sum")(*inputs, labels, 3, Case().options)
    with pytest.raises(RuntimeError, match="single nonzero value, but got zero"):
        (out.nll * torch.arange(len(out.nll))).sum().backward()


def test_logits_that_are_kept_are_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many rows as fit in `kept`, in whole tiles: 6 of 7. Without them all 7 are computed twice."""
    computed: list[int] = []
    real = Chunked.gradient

    def spy(self: Chunked, hidden: Tensor, *rest: Any) -> Tensor:
        computed.append(len(hidden))
        return real(self, hidden, *rest)

    monkeypatch.setattr(Chunked, "gradient", spy)
    for kept, again in ((23 * 7, 0), (23 * 6, 1), (0, 7)):
        computed.clear()
        *inputs, labels = Case().tensors(torch.float64)
        out = fused(Chunked(rows=3, columns=23, kept=kept))(*inputs, labels, 3, Case().options)
        (out.nll.sum() + out.lse.sum()).backward()
        assert sum(computed) == again


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_inputs_are_summed_in_float32(dtype: torch.dtype) -> None:
    case = Case(positions=19, width=64, entries=131, k=5, scale=0.25)
    found = differences(fused(SMALL), case, dtype, torch.float64)
    gradients = {field for field in found if field.startswith("d ")}
    rounding = max(torch.finfo(dtype).eps, 1e-5)  # a gradient has the dtype of its input
    assert found.pop("ids") == 0
    assert all(found[field] < (rounding if field in gradients else 1e-5) for field in found), found


@pytest.mark.parametrize("field", ["nll", "values", "lse", "mean", "var"])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_gradcheck_of_every_output(field: str, softcap: float | None) -> None:
    case = Case(positions=3, width=2, entries=7, k=2, padding=1, scale=1.5, softcap=softcap)
    *inputs, labels = case.tensors(torch.float64)

    def run(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return getattr(fused(SMALL)(hidden, weight, bias, labels, case.k, case.options), field)

    assert torch.autograd.gradcheck(run, inputs)


def test_ties_take_the_lowest_ids() -> None:
    hidden, weight = torch.ones(4, 1), torch.zeros(50, 1)
    weight[[7, 20, 33]] = 1.0
    for tiles in TILES.values():
        out = fused(tiles)(hidden, weight, None, torch.zeros(4).long(), 6, Case(entries=50).options)
        assert out.ids.tolist() == [[7, 20, 33, 0, 1, 2]] * 4


def test_a_tie_at_the_edge_of_the_top_k_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: torch.topk's own order of ties."""
    real = torch.Tensor.topk

    def last_first(self: Tensor, k: int, dim: int = -1, largest: bool = True) -> Any:
        found = real(self.flip(dim), k, dim=dim, largest=largest)
        return type(found)((found.values, self.shape[dim] - 1 - found.indices))

    monkeypatch.setattr(torch.Tensor, "topk", last_first)
    hidden, weight, bias, labels = CASES["ties"].tensors(torch.float64)
    logits = hidden @ weight.T + bias
    sorted_ids = logits.sort(dim=1, descending=True, stable=True).indices[:, :7]
    assert torch.equal(fused(SMALL)(hidden, weight, bias, labels, 7, CASES["ties"].options).ids, sorted_ids)
    assert torch.equal(naive(hidden, weight, bias, labels, 7, CASES["ties"].options).ids, sorted_ids)
    monkeypatch.setattr(largest, "_in_order", lambda z, values, ids: (values, ids))
    hidden, weight = torch.ones(1, 1), torch.zeros(50, 1)
    planted = fused(SMALL)(hidden, weight, None, torch.zeros(1).long(), 3, Case(entries=50).options)
    assert planted.ids.tolist() != [[0, 1, 2]]


def test_the_variance_of_far_logits_does_not_cancel() -> None:
    hidden = torch.full((2, 1), 1.0)
    weight = (1e4 + torch.arange(60.0) / 8)[:, None]  # whole eighths: exact in float32
    out = fused(SMALL)(hidden, weight, None, torch.zeros(2).long(), 2, Case(entries=60).options)
    torch.testing.assert_close(out.var, (torch.arange(60.0) / 8).var(correction=0).expand(2), rtol=1e-5, atol=0)
    logits = weight[:, 0]
    planted = logits.square().mean() - logits.mean().square()
    assert abs(planted / out.var[0] - 1) > 1e-2


def test_a_label_that_is_all_but_certain_keeps_its_small_loss() -> None:
    weight = torch.tensor([[30.0], [18.0], [10.0]])
    out = fused(Chunked(rows=1, columns=2))(
        torch.ones(1, 1), weight, None, torch.zeros(1).long(), 1, Case(entries=3).options
    )
    exact = weight[:, 0].double().logsumexp(0) - 30
    assert out.nll.item() == pytest.approx(exact.item(), rel=1e-2)  # lse - logit in float32 would give 7.6e-6 or 5.7e-6


EARLY = {
    "mean": (lambda out: out.nll.mean() + out.values.square().sum(), True),
    "sum of lse at labelled positions": (lambda out: out.lse[out.nll != 0].sum(), True),
    "weighted positions": (lambda out: (out.nll * torch.arange(len(out.nll))).sum(), False),
    "lse everywhere": (lambda out: out.nll.sum() + out.lse.sum(), False),
    "moments": (lambda out: out.nll.sum() + out.std.sum(), False),
    "values alone": (lambda out: out.values.sum(), False),
}


@pytest.mark.parametrize("name", EARLY)
def test_a_prepared_gradient_serves_where_it_is_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, serves = EARLY[name]
    asked: list[bool] = []
    real = early.Early.serves

    def spy(self: early.Early, given: Any) -> bool:
        asked.append(real(self, given))
        return asked[-1]

    monkeypatch.setattr(early.Early, "serves", spy)
    case = Case(softcap=2.0, padding=2)

    def gradients(function: Any) -> tuple[Tensor, ...]:
        *inputs, labels = case.tensors(torch.float64)
        return torch.autograd.grad(loss(function(*inputs, labels, case.k, case.options)), inputs)

    for got, want in zip(gradients(fused(SMALL, "sum")), gradients(naive), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=EXACT)
    assert asked == [serves]


def test_a_frozen_head_is_served_whatever_the_weights_of_positions() -> None:
    hidden, weight, bias, labels = Case(frozen=True).tensors(torch.float64)
    out = fused(SMALL, "sum")(hidden, weight, bias, labels, 3, Case().options)
    node = out.nll.grad_fn
    assert node is not None
    given = (torch.arange(7.0).double(), None, None, None, None, None)
    assert node.help.serves(fused_module.row_gradients(given, labels, out, Case().options))  # type: ignore[attr-defined]


def test_nothing_is_prepared_without_gradients() -> None:
    hidden, weight, bias, labels = Case().tensors(torch.float64)
    with torch.no_grad():
        _, prepared = Chunked().sweep(
            Inputs(hidden, weight, bias, labels), 3, Case().options, (False, False, False), "sum"
        )
        assert not topk_cross_entropy(hidden, weight, labels, 2, impl="chunked").nll.requires_grad
    assert prepared is None


def test_gradients_only_where_they_are_wanted() -> None:
    found = results(fused(SMALL), CASES["frozen head"], torch.float64)
    assert {"d weight", "d bias"}.isdisjoint(found)
    hidden, weight, _, labels = Case(bias=False).tensors(torch.float64)
    out = topk_cross_entropy(hidden.detach(), weight, labels, 2, impl="chunked")
    out.nll.sum().backward()
    assert hidden.grad is None
    assert weight.grad is not None


def test_a_tied_embedding_adds_up_both_gradients() -> None:
    def gradient(impl: Any) -> Tensor:
        _, weight, _, labels = Case(bias=False).tensors(torch.float64)
        hidden = weight[torch.arange(len(labels))].tanh()
        out = topk_cross_entropy(hidden, weight, labels, 2, impl=impl)
        return torch.autograd.grad(out.nll.sum() + out.values.square().sum(), weight)[0]

    torch.testing.assert_close(gradient("chunked"), gradient("naive"), rtol=0, atol=EXACT)


def test_padded_rows_count_nowhere() -> None:
    case = CASES["padded rows"]
    hidden, weight, bias, labels = case.tensors(torch.float64)
    out = topk_cross_entropy(hidden, weight, labels, 3, bias=bias, vocab_size=case.entries, impl="chunked")
    assert bias is not None
    real = topk_cross_entropy(hidden, weight[: case.entries], labels, 3, bias=bias[: case.entries], impl="naive")
    for got, want in zip(out, real, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=EXACT)
    out.lse.sum().backward()
    assert weight.grad is not None
    assert weight.grad[case.entries :].eq(0).all()


def test_under_autocast() -> None:
    hidden, weight, bias, labels = Case(width=64).tensors(torch.float32)

    def run() -> tuple[Tensor, ...]:
        out = topk_cross_entropy(hidden, weight, labels, 3, bias=bias, impl="chunked")
        return *out, *torch.autograd.grad(out.lse.sum(), (hidden, weight))

    plain = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(run(), plain, strict=True))


def test_a_second_derivative_is_refused() -> None:
    hidden, weight, _, labels = Case().tensors(torch.float64)
    lse = topk_cross_entropy(hidden, weight, labels, 2, impl="chunked").lse.sum()
    with pytest.raises(InputError, match=r'differentiated once.*\n.*impl="naive"'):
        torch.autograd.grad(lse, hidden, create_graph=True)


@pytest.mark.parametrize("use", USES)
def test_backward_can_be_repeated(use: Use) -> None:
    hidden, weight, _, labels = Case().tensors(torch.float64)
    out = topk_cross_entropy(hidden, weight, labels, 2, impl="chunked", use=use)
    loss = out.nll.sum()
    first, again = (torch.autograd.grad(loss, (hidden, weight), retain_graph=True) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=EXACT)  # the prepared gradient, and computed anew


@pytest.mark.parametrize("impl", ["naive", "chunked"])
def test_a_loss_that_is_not_finite_shows(impl: Any) -> None:
    hidden, weight, _, labels = Case(ignored="none").tensors(torch.float64)
    with torch.no_grad():
        hidden[2] = torch.nan
    nll = topk_cross_entropy(hidden, weight, labels, 2, impl=impl).nll
    assert nll.isnan().tolist() == [i == 2 for i in range(len(nll))]


@pytest.mark.parametrize("use", USES)
def test_memory_is_a_tile_not_all_logits(use: Use) -> None:
    hidden, weight = torch.randn(1024, 8), torch.randn(60_000, 8)
    hidden.requires_grad_()
    memory = PeakMemory(torch.device("cpu"))
    before = memory.read()
    if before is None:
        pytest.skip("peak memory is not known here")
    case = Case(entries=60_000)
    tiles = Chunked(held=2**21, kept=2**21)
    fused(tiles, use)(hidden, weight, None, torch.zeros(1024).long(), 4, case.options).nll.sum().backward()
    peak = memory.read()
    assert peak is not None
    assert peak - before < 1024 * 60_000 * 4 / 3  # one copy of the logits: 234 MiB


def test_auto_takes_one_tile_at_once() -> None:
    cpu, half = torch.device("cpu"), torch.bfloat16
    assert dispatch.automatic(1, 100, 5, cpu, half) == "naive"
    assert dispatch.automatic(4096, 100_352, 16, cpu, half) == "chunked"
    assert dispatch.automatic(4096, 100_352, 100_352, cpu, half) == "naive"
    assert chunked.Chunked.rows * chunked.Chunked.columns == dispatch.ONE_TILE


@pytest.mark.parametrize(
    ("capability", "dtype", "k", "package", "chosen"),
    [
        ((9, 0), torch.bfloat16, 16, True, "triton"),
        ((9, 0), torch.float32, 16, True, "chunked"),
        ((9, 0), torch.bfloat16, 500, True, "chunked"),
        ((9, 0), torch.bfloat16, 16, False, "chunked"),
        ((8, 0), torch.bfloat16, 16, True, "chunked"),
    ],
    ids=["measured", "float32", "large k", "not installed", "another GPU"],
)
def test_auto_takes_triton_where_it_was_measured(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    dtype: torch.dtype,
    k: int,
    package: bool,
    chosen: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(dispatch, "find_spec", lambda name: package or None)
    assert dispatch.automatic(4096, 100_352, k, torch.device("cuda"), dtype) == chosen


def test_tiles_are_chosen_for_the_device() -> None:
    host, device = Chunked.on(torch.device("cpu")), Chunked.on(torch.device("cuda"))
    assert host == Chunked()
    assert device.rows * device.columns > 10 * host.rows * host.columns
    assert device.held >= device.rows * device.columns


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "label": ({"labels": torch.full((7,), 23)}, "a label must be a vocabulary id below 23"),
    "label of padding": ({"vocab_size": 4, "labels": torch.full((7,), 4)}, "below 4"),
    "labels": ({"labels": torch.zeros(6).long()}, r"expected labels \[7\]"),
    "bias": ({"bias": torch.zeros(5)}, r"bias \[23\]"),
    "hidden": ({"hidden": torch.zeros(7, 6)}, r"got \[7, 6\] and \[23, 5\]"),
    "vocab_size": ({"vocab_size": 24}, "between 1 and the 23 rows"),
    "softcap": ({"softcap": 0.0}, "must be positive numbers"),
    "scale": ({"scale": float("nan")}, "must be positive numbers"),
    "k": ({"k": 24}, "between 1 and the vocabulary size 23"),
    "impl": ({"impl": "chunkd"}, 'did you mean "chunked"'),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(name: str) -> None:
    hidden, weight, _, labels = Case(ignored="none").tensors(torch.float32)
    given: dict[str, Any] = {"hidden": hidden, "weight": weight, "labels": labels, "k": 2}
    changed, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        topk_cross_entropy(**(given | changed))


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("ids", [1, 40])
def test_logits_at_chosen_ids(ids: int, softcap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They and their gradients are those of all logits. An id may come twice; with many ids all logits are computed."""
    monkeypatch.setattr(lookup, "BUDGET", 12)  # two rows at a time
    case = Case(positions=7, width=5, entries=23)
    hidden, weight, bias, _ = case.tensors(torch.float64)
    assert bias is not None
    at = torch.randint(23, (7, ids), generator=torch.Generator().manual_seed(3))
    pull = torch.randn(7, ids, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    dense = Options(23, scale=1.5, softcap=softcap).logits(hidden @ weight.T + bias).gather(1, at)
    found = logits_at(hidden, weight, bias, at, 1.5, softcap)
    torch.testing.assert_close(found, dense, rtol=0, atol=EXACT)
    inputs = (hidden, weight, bias)
    for got, want in zip(*(torch.autograd.grad((x * pull).sum(), inputs) for x in (found, dense)), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=EXACT)


@pytest.mark.parametrize("ids", [1, 40])
def test_looked_up_logits_are_rounded_like_those_of_the_kernel(ids: int) -> None:
    """As on CUDA under autocast: factors in bfloat16, products and sums in float32."""
    hidden, weight, _, _ = Case(bias=False).tensors(torch.float32)
    at = torch.randint(23, (7, ids), generator=torch.Generator().manual_seed(3))
    found = logits_at(hidden, weight, None, at, factors=torch.bfloat16)
    rounded = (hidden.bfloat16().float() @ weight.bfloat16().float().T).gather(1, at)
    torch.testing.assert_close(found, rounded, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found, (hidden @ weight.T).gather(1, at), rtol=1e-6, atol=1e-6)
    pull = torch.randn(found.shape, generator=torch.Generator().manual_seed(4))
    gradients = [torch.autograd.grad((x * pull).sum(), (hidden, weight)) for x in (found, rounded)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=2e-2, atol=2e-2)  # plain casts round gradients too


def test_a_buffer_serves_again_but_never_twice_at_once() -> None:
    """Two forward passes before a backward pass have buffers of their own; a smaller one fits into a larger one."""
    scratch = Scratch()

    def run(entries: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        *inputs, labels = Case(entries=entries).tensors(torch.float64)
        out = topk_cross_entropy(*inputs[:2], labels, 3, bias=inputs[2], impl="chunked", scratch=scratch)
        return out.nll.sum() + out.lse.square().sum(), tuple(inputs)

    def gradients(entries: int) -> tuple[Tensor, ...]:
        *inputs, labels = Case(entries=entries).tensors(torch.float64)
        out = naive(*inputs, labels, 3, Case(entries=entries).options)
        return torch.autograd.grad(out.nll.sum() + out.lse.square().sum(), inputs)

    held = [run(40), run(23), run(40)]
    for (loss, inputs), entries in zip(held, (40, 23, 40), strict=True):
        for got, want in zip(torch.autograd.grad(loss, inputs), gradients(entries), strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=EXACT)
    where = scratch.take(7, 40, torch.float64, torch.device("cpu"))
    scratch.give_back(where)
    again = scratch.take(7, 23, torch.float64, torch.device("cpu"))
    assert again.data_ptr() == where.data_ptr()
    assert scratch.take(7, 23, torch.float64, torch.device("cpu")).data_ptr() != again.data_ptr()
    scratch.give_back(again)
    assert scratch.take(7, 40, torch.float32, torch.device("cpu")).data_ptr() != again.data_ptr()
