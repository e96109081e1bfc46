"""`alm`, `gold`, `shared_kd` and `xtoken`, each against its formula written out, and the chunks that they compare."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from gldfusion.align import Encoded, pair, with_end
from gldfusion.conformance.ours import signal_of
from gldfusion.losses import make_loss
from gldfusion.losses.chunks import Chunks
from gldfusion.signals import END, PivotSignal, Signal

V = 9
NAMES = [0, 1, 2, 3, 4, 5, 5, 7, -1]
"""source id -> pivot id: 5 and 6 meet, 8 has no counterpart. So the pivot's 6 and 8 have none either"""
OURS = [[0, 2, 3, 5, 9], [0, 1, 4]]
THEIRS = [[0, 1, 3, 6, -1, 9], [0, 2, 4]]
"""bytes at which the labels of two texts start; the last one is the end"""
CHUNKS = [[((0, 1), (0, 1)), ((2, 3), (2, 3, 4)), ((4,), (5,))], [((0, 1), (0, 1)), ((2,), (2,))]]
"""the chunks of each text: positions of the pivot, positions of the source"""


class Case(NamedTuple):
    pivot: PivotSignal
    source: Signal
    pairs: Tensor


def randn(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def case(k: int = 4, ended: bool = True, logits: Tensor | None = None) -> Case:
    rows = []
    for ours, theirs in zip(OURS, THEIRS, strict=True):
        pairs = pair(ours, theirs)
        rows.append(with_end(pairs, Encoded([0, *ours], 1, ours, not ended), theirs))
    pairs = torch.tensor([row + [(-1, -1)] * (4 - len(row)) for row in rows])
    masks = [torch.arange(n) < torch.tensor([[len(s)] for s in side]) for n, side in ((5, OURS), (6, THEIRS))]
    labels = [torch.randint(V, mask.shape, generator=torch.Generator().manual_seed(4)) for mask in masks]
    logits = randn(2, 5, V, seed=0) if logits is None else logits
    pivot = signal_of(logits, masks[0], labels[0], k)
    source = signal_of(randn(2, 6, V, seed=1), masks[1], labels[1], k)
    shared = torch.tensor([name in NAMES for name in range(V)])
    named = torch.tensor(NAMES)[source.ids]
    pivot = replace(pivot, mapped=torch.where(shared[pivot.need("ids")], pivot.need("ids"), -1))
    ids, shares = PROJECTED[source.ids].flatten(-2), SHARES[source.ids].flatten(-2)
    return Case(pivot, replace(source, mapped=named, projected=ids, shares=shares), pairs)


PROJECTED = torch.tensor([[0, -1], [1, 6], [2, -1], [3, 8], [4, -1], [5, -1], [-1, -1], [7, -1], [-1, -1]])
SHARES = torch.tensor([[1, 0], [1, 0.9], [1, 0], [1, 0.5], [1, 0], [1, 0], [0, 0], [1, 0], [0, 0]]).double()
"""source id -> pivot ids that give a part of their probability to it, and these parts"""


def probabilities(one: Signal, b: int, t: int) -> Tensor:
    """Over the whole vocabulary."""
    assert isinstance(one, PivotSignal)
    return torch.softmax(one.need("logits")[b, t].detach(), -1)


def label(one: Signal, b: int, t: int) -> float:
    """The probability of a label."""
    assert isinstance(one, PivotSignal)
    return probabilities(one, b, t)[one.need("labels")[b, t]].item()


def kept(one: Signal, b: int, t: int) -> dict[int, float]:
    """The probability of each kept id."""
    whole = probabilities(one, b, t)
    return {i: whole[i].item() for i in one.need("ids")[b, t].tolist()}


def carried(one: Signal, b: int, t: int) -> dict[int, float]:
    """The probabilities of the kept ids that have a counterpart, by the pivot's id."""
    out: dict[int, float] = {}
    for i, probability in kept(one, b, t).items():
        if NAMES[i] >= 0:
            out[NAMES[i]] = out.get(NAMES[i], 0) + probability
    return out


def with_rest(q: dict[int, float], p: dict[int, float]) -> float:
    pairs = [(q[v], p[v]) for v in q] + [(1 - sum(q.values()), 1 - sum(p[v] for v in q))]
    return sum(a * math.log(a / b) for a, b in pairs)


def sorted_gap(one: list[float], other: list[float]) -> float:
    width = max(len(one), len(other))
    rows = [sorted(side, reverse=True) + [0.0] * (width - len(side)) for side in (one, other)]
    return sum(abs(a - b) for a, b in zip(*rows, strict=True))


def alm(given: Case, divergence: str, temperature: float) -> float:
    functions: dict[str, Callable[[float, float], float]] = {
        "kl": lambda q, p: q * math.log(q / p),
        "reverse_kl": lambda q, p: p * math.log(p / q),
        "tv": lambda q, p: abs(q - p) / 2,
    }
    f, total = functions[divergence], 0.0
    for b, chunks in enumerate(CHUNKS):
        for ours, theirs in chunks:
            p = math.prod(label(given.pivot, b, t) for t in ours) ** (1 / temperature)
            q = math.prod(label(given.source, b, t) for t in theirs) ** (1 / temperature)
            total += f(q, p) + f(1 - q, 1 - p)
    return total


def gold(given: Case, beta: float, weight: float, place: int) -> float:
    total = 0.0
    for b, chunks in enumerate(CHUNKS):
        for ours, theirs in chunks:
            times = []
            for one, positions in ((given.pivot, ours), (given.source, theirs)):
                rest = [t for t in positions if t != positions[place]]
                times.append(math.prod(label(one, b, t) for t in rest))
            whole = probabilities(given.pivot, b, ours[place]) * times[0]
            matched = 0.0
            for v, q in carried(given.source, b, theirs[place]).items():
                q, p = q * times[1], whole[v].item()
                m = beta * q + (1 - beta) * p
                matched += beta * q * math.log(q / m) + (1 - beta) * p * math.log(p / m)
            left = [
                [p * times[0] for v, p in kept(given.pivot, b, ours[place]).items() if v not in NAMES],
                [q * times[1] for v, q in kept(given.source, b, theirs[place]).items() if NAMES[v] < 0],
            ]
            total += weight * matched + (1 - weight) * sorted_gap(*left)
    return total


def shared_kd(given: Case, renormalise: bool) -> float:
    total = 0.0
    for b, chunks in enumerate(CHUNKS):
        for ours, theirs in chunks:
            if len(ours) == len(theirs) == 1:
                q = carried(given.source, b, theirs[0])
                p = {v: probabilities(given.pivot, b, ours[0])[v].item() for v in q}
                if renormalise:
                    sums = sum(q.values()), sum(p.values())
                    total += sum(q[v] / sums[0] * math.log(q[v] / sums[0] / (p[v] / sums[1])) for v in q)
                else:
                    total += with_rest(q, p)
    return total


def xtoken(given: Case, form: str) -> float:
    total = 0.0
    for b, chunks in enumerate(CHUNKS):
        for ours, theirs in chunks:
            whole, told = probabilities(given.pivot, b, ours[0]), kept(given.source, b, theirs[0])
            if form == "pkl":
                p: dict[int, float] = {
                    i: sum(whole[u].item() * w for u, w in zip(PROJECTED[i].tolist(), SHARES[i].tolist(), strict=True))
                    for i in told
                    if (PROJECTED[i] >= 0).any()
                }
                total += with_rest({i: told[i] for i in p}, p)
            else:
                q = carried(given.source, b, theirs[0])
                total += with_rest(q, {v: whole[v].item() for v in q})
                ours_left = [p for v, p in kept(given.pivot, b, ours[0]).items() if v not in NAMES]
                total += sorted_gap(ours_left, [p for i, p in told.items() if NAMES[i] < 0])
    return total


FORMULAS: list[tuple[str, dict[str, Any], Callable[[Case], float]]] = [
    *(
        ("alm", {"divergence": f, "temperature": tau}, lambda c, f=f, tau=tau: alm(c, f, tau))
        for f in ("kl", "reverse_kl", "tv")
        for tau in (1.0, 5.0, 100.0)
    ),
    ("gold", {}, lambda c: gold(c, 0.5, 0.5, -1)),
    ("gold", {"merge": "first"}, lambda c: gold(c, 0.5, 0.5, 0)),
    ("gold", {"beta": 0.1, "matched_weight": 0.8}, lambda c: gold(c, 0.1, 0.8, -1)),
    ("shared_kd", {}, lambda c: shared_kd(c, False)),
    ("shared_kd", {"rest": "renormalise"}, lambda c: shared_kd(c, True)),
    ("xtoken", {}, lambda c: xtoken(c, "pkl")),
    ("xtoken", {"form": "hkl"}, lambda c: xtoken(c, "hkl")),
]
IDS = [f"{name} {options}" for name, options, _ in FORMULAS]
UNITS = {"alm": 5, "gold": 5, "shared_kd": 2, "xtoken": 5}


@pytest.mark.parametrize(("name", "options", "formula"), FORMULAS, ids=IDS)
@pytest.mark.parametrize("k", [4, 7])
def test_written_out(name: str, options: dict[str, Any], formula: Callable[[Case], float], k: int) -> None:
    given, loss = case(k), make_loss(name, options)
    assert loss(*given).item() == pytest.approx(formula(given), rel=1e-9)
    assert loss.count(given.pivot.mask, given.source.mask, given.pairs) == UNITS[name]


@pytest.mark.parametrize(("name", "options"), [entry[:2] for entry in FORMULAS], ids=IDS)
def test_the_gradient_is_exact(name: str, options: dict[str, Any]) -> None:
    loss = make_loss(name, options)
    run = lambda logits: loss(*case(logits=logits))  # noqa: E731
    assert torch.autograd.gradcheck(run, randn(2, 5, V, seed=0).requires_grad_(), fast_mode=True)


def test_chunks_are_the_smallest_common_pieces() -> None:
    given = case()
    chunks = Chunks.of(given.pivot.mask, given.source.mask, given.pairs)
    for b, expected in enumerate(CHUNKS):
        rows = chunks.complete[b].nonzero().flatten().tolist()
        found = [
            tuple(tuple((side[b] == row).nonzero().flatten().tolist()) for side in (chunks.ours, chunks.theirs))
            for row in rows
        ]
        assert found == expected
    lengths = [[len(ours) for ours, _ in row] for row in CHUNKS]
    assert [chunks.lengths(chunks.ours)[b][chunks.complete[b]].tolist() for b in range(2)] == lengths


def test_the_last_chunk_of_a_text_that_is_cut_off_does_not_count() -> None:
    """It would compare different pieces: one model may have been cut off earlier than the other."""
    given = case(ended=False)
    assert not (given.pairs == END).any()
    assert int(Chunks.of(given.pivot.mask, given.source.mask, given.pairs).complete.sum()) == 3
    assert make_loss("alm").count(given.pivot.mask, given.source.mask, given.pairs) == 3


def test_a_position_that_is_paired_twice_begins_one_chunk() -> None:
    given = case()
    pairs = torch.tensor([[[0, 0], [2, 3], [3, 3], [END, END]], [[0, 0], [-1, -1], [-1, -1], [-1, -1]]])
    chunks = Chunks.of(given.pivot.mask, given.source.mask, pairs)
    assert chunks.complete.tolist() == [[True, False, True, False], [False] * 4]
    assert make_loss("gold")(given.pivot, given.source, pairs) < 5


def test_ends_are_marked_only_if_both_models_read_them() -> None:
    whole, cut = Encoded([0, 1, 2, 3], 1, [0, 2, 5], False), Encoded([0, 1, 2], 1, [0, 2], True)
    pairs = [(0, 0), (1, 1)]
    assert with_end(pairs, whole, [0, 2, 3, 5]) == [*pairs, (END, END)]
    assert with_end(pairs, whole, [0, 2, 3]) == pairs
    assert with_end(pairs, cut, [0, 2]) == pairs
    assert with_end([], whole, []) == []


@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "tv"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_alm_of_certain_and_of_impossible_chunks_is_finite(divergence: str, dtype: torch.dtype) -> None:
    """Probabilities of 1, and of exp(-2000), which no float holds."""
    given = case()
    nll = torch.tensor([[0, 0, 1000, 1000, 0], [1e-9, 0, 0, 0, 0]], dtype=dtype).requires_grad_()
    source = replace(given.source, nll=torch.tensor([[0, 0, 0, 0, 0, 50], [500, 500, 0, 0, 0, 0]], dtype=dtype))
    value = make_loss("alm", {"divergence": divergence})(replace(given.pivot, nll=nll), source, given.pairs)
    assert value.isfinite()
    assert value > 0.5
    assert torch.autograd.grad(value, nll)[0].isfinite().all()


def test_alm_at_a_high_temperature_compares_negative_log_likelihoods() -> None:
    """tau KL tends to a log(a / b) + b - a, with a and b = -log of the probabilities of source and pivot."""
    given, expected = case(), 0.0
    for b, chunks in enumerate(CHUNKS):
        for ours, theirs in chunks:
            ours = -sum(math.log(label(given.pivot, b, t)) for t in ours)
            theirs = -sum(math.log(label(given.source, b, t)) for t in theirs)
            expected += theirs * math.log(theirs / ours) + ours - theirs
    assert 1e6 * make_loss("alm", {"temperature": 1e6})(*given).item() == pytest.approx(expected, rel=1e-4)


def test_alm_reads_one_number_of_a_label() -> None:
    given = case()
    told = replace(given.source, ids=None, mapped=None, lse=None, values=torch.zeros(2, 6, 1))
    assert make_loss("alm")(given.pivot, told, given.pairs).item() == make_loss("alm")(*given).item()
    assert make_loss("alm").needs == frozenset({"nll"})


def test_gold_with_one_tokenizer_is_the_divergence_of_gkd_without_its_rest() -> None:
    given = case(V)
    same = replace(given.source, mapped=given.source.need("ids")), torch.tensor([[[0, 0], [1, 1], [END, END]]])
    pivot, source = given.pivot.map(lambda t: t[:1, :2]), same[0].map(lambda t: t[:1, :2])
    pivot = replace(pivot, mapped=pivot.need("ids"))
    half = make_loss("gold", {"beta": 0.3})(pivot, source, same[1])
    assert 2 * half.item() == pytest.approx(make_loss("gkd", {"beta": 0.3})(pivot, source, same[1]).item(), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "sees"),
    [
        ("alm", {}, False),
        ("gold", {}, True),
        ("shared_kd", {}, True),
        ("shared_kd", {"rest": "renormalise"}, True),
        ("xtoken", {}, True),
        ("xtoken", {"form": "hkl"}, True),
    ],
)
def test_who_sees_permuted_ids(name: str, options: dict[str, Any], sees: bool) -> None:
    given, loss = case(), make_loss(name, options)
    ids = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])[given.source.need("ids")]
    projected = PROJECTED[ids].flatten(-2), SHARES[ids].flatten(-2)
    named = torch.tensor(NAMES)[ids]
    renamed = replace(given.source, ids=ids, mapped=named, projected=projected[0], shares=projected[1])
    before, after = loss(*given).item(), loss(given.pivot, renamed, given.pairs).item()
    assert (abs(before - after) > 1e-3) is sees


def test_tokens_that_nothing_leads_to_belong_to_the_rest() -> None:
    """No token has a counterpart: the rest is everything on both sides, and sorted differences remain."""
    given = case()
    none = torch.full_like(given.source.need("projected"), -1)
    unnamed = replace(given.source, mapped=torch.full_like(given.source.need("mapped"), -1), projected=none)
    for name in ("shared_kd", "xtoken"):
        assert make_loss(name)(given.pivot, unnamed, given.pairs).item() == pytest.approx(0, abs=1e-12)
    assert make_loss("xtoken", {"form": "hkl"})(given.pivot, unnamed, given.pairs).item() > 0.1
