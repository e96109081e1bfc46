"""Every trap that was met in other implementations, planted in ours: the conformance suite, or a test, catches each."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ot
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from gldfusion.align import Encoded
from gldfusion.conformance import CHECKS, CheckError, Subject, __main__, applies, conformance, ours
from gldfusion.conformance.cases import identical
from gldfusion.conformance.gold import gold
from gldfusion.conformance.ours import subject, subjects
from gldfusion.errors import InputError
from gldfusion.inputs import Inputs
from gldfusion.losses import LOSSES, make_loss
from gldfusion.losses.minced import Minced
from gldfusion.losses.uld import Uld
from gldfusion.signals import PivotSignal, Signal

TESTS = Path(__file__).parents[1]
ELSEWHERE = {
    "means per process": "gldfusion/test_parallel.py::test_planted_bugs_are_caught",
    "means per micro-batch, in the loop": "gldfusion/test_fuse.py::test_means_per_micro_batch_are_caught",
    "the unwrapped module under data parallelism": "gldfusion/test_parallel.py::test_planted_bugs_are_caught",
    "the pivot's template on a source": "gldfusion/test_sources.py::test_the_pivots_template_on_a_source_is_caught",
    "a cache bound to data order": "gldfusion/test_cache.py::test_rows_are_found_by_content_not_by_order",
    "unpinned threads": "gldbench/test_timing.py::test_threads_are_pinned_and_given_back",
}
"""traps of the training loop, the cache and the timings: planted and caught there"""


@pytest.mark.parametrize("name", [s.name for s in subjects()])
@pytest.mark.parametrize("check", CHECKS)
def test_our_losses_conform(check: str, name: str) -> None:
    tested = next(s for s in subjects() if s.name == name)
    if applies(check, tested):
        CHECKS[check](tested)


def caught(check: str, tested: Subject) -> bool:
    try:
        CHECKS[check](tested)
    except CheckError:
        return True
    return False


@pytest.mark.parametrize("name", LOSSES)
def test_unshifted_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On both sides alike, where an identical source shows nothing."""
    monkeypatch.setattr(Encoded, "predicting", property(lambda self: self.labelled))
    assert caught("pivot_shift", subject(name))
    if name != "sft":
        assert not caught("identical_source", subject(name))
        assert caught("source_shift", subject(name))


@pytest.mark.parametrize("name", ["sft", "gld"])
@pytest.mark.parametrize(
    "plant",
    [lambda mask: torch.ones_like(mask), lambda mask: mask.roll(1, 1)],
    ids=["ignored", "unshifted"],
)
def test_a_wrong_mask(name: str, plant: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    real = ours.collate

    def wrong(encoded: list[Encoded]) -> Inputs:
        inputs = real(encoded)
        return replace(inputs, mask=plant(inputs.mask))

    monkeypatch.setattr(ours, "collate", wrong)
    assert any(caught(check, subject(name)) for check in ("mask", "pivot_shift", "split", "padding"))
    assert caught("split", subject(name))


def test_counted_padding() -> None:
    right = subject("sft")
    wrong = replace(right, count=lambda case: case.pivot.labels.numel())
    assert caught("padding", wrong)
    diluted = replace(right, run=lambda case: right.run(case) * 20 / case.pivot.ids.shape[1])
    assert caught("padding", diluted)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("sft", "gld")])
def test_bytes_counted_from_the_start_of_the_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """BOS or a template on one side then shifts every start: groups collapse."""
    real = ours._encoded

    def absolute(side: Any) -> list[Encoded]:
        return [replace(e, starts=[start + e.n_prompt for start in e.starts]) for e in real(side)]

    monkeypatch.setattr(ours, "_encoded", absolute)
    assert caught("bos", subject(name))


class UldReportingTemperatureSquared(Uld):
    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        loss = super().__call__(pivot, source, pairs)
        return loss + (self.temperature**2 - 1) * loss.detach()


def test_a_factor_in_the_loss_but_not_in_its_gradient() -> None:
    assert caught("gradient", subject("uld", UldReportingTemperatureSquared(temperature=2.0)))
    assert not caught("gradient", subject("uld", Uld(temperature=2.0)))


@pytest.mark.parametrize("name", LOSSES)
def test_means_instead_of_sums(name: str) -> None:
    right = subject(name)
    assert caught("split", replace(right, run=lambda case: right.run(case) / right.count(case)))


@pytest.mark.parametrize(("name", "options"), [("uld", {"standardize": "vocabulary"}), ("gld", {"values": "standard"})])
def test_moments_over_a_padded_vocabulary(name: str, options: dict[str, Any]) -> None:
    """Not planted: these two read the mean and spread of all rows of the output layer, padded ones included."""
    assert caught("padded_vocabulary", subject(name, make_loss(name, options)))


class UldPaddedAtTheFront(Uld):
    def _probabilities(self, signal: Signal) -> Tensor:
        probabilities = super()._probabilities(signal)
        return pad(probabilities, (15 - probabilities.shape[-1], 0))


def test_vocabularies_of_different_padded_size() -> None:
    """Whole vocabularies, 12 entries against 12 and 3 of padding."""
    assert not caught("padded_vocabulary", subject("uld", k=15))
    assert caught("padded_vocabulary", subject("uld", UldPaddedAtTheFront(), k=15))


class MincedOnTheTokenAtHand(Minced):
    def weighed(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None, share: Tensor) -> Tensor:
        at_hand = pivot.need("labels").roll(1, 1)
        nll = -pivot.need("logits").log_softmax(-1).gather(-1, at_hand[..., None]).squeeze(-1)
        return super().weighed(replace(pivot, nll=nll), source, pairs, share)


def test_a_fallback_on_the_token_at_hand() -> None:
    assert caught("next_label", subject("minced", MincedOnTheTokenAtHand()))
    assert not caught("next_label", subject("minced"))


@pytest.mark.parametrize("name", ["kl", "minced", "gkd", "gld_local", "shared_kd", "gold", "xtoken"])
def test_ids_of_17_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ours.signal_of

    def narrow(*given: Any) -> PivotSignal:
        signal = real(*given)
        cut = {name: signal.need(name) % 2**17 for name in ("ids", "mapped", "projected")}
        return replace(signal, **cut)

    monkeypatch.setattr(ours, "signal_of", narrow)
    assert caught("wide_ids", subject(name))


def test_raw_logits_chase_a_constant() -> None:
    assert caught("gauge", subject("gld", make_loss("gld", {"values": "raw"})))


@pytest.mark.parametrize("seed", [2, 6, 7])
def test_poorly_scaled_graphs_stop_conditional_gradient_early(seed: int) -> None:
    """POT at tol 1e-9 on entries near 1e-5 ends above what it finds on the same problem, normalised."""
    random = np.random.default_rng(seed)
    z, y = random.random((5, 8)), random.random((5, 8))
    costs = {}
    for scale in (1e-5, 1.0):
        graphs = z.T @ z * scale, y.T @ y * scale
        _, log = ot.gromov.gromov_wasserstein(*graphs, tol_rel=1e-9, tol_abs=1e-9, log=True)
        costs[scale] = float(np.asarray(log["gw_dist"])) / scale**2
    assert costs[1e-5] > 1.001 * costs[1.0]


@pytest.mark.parametrize("trap", ELSEWHERE)
def test_the_others_have_their_test(trap: str) -> None:
    file, _, name = ELSEWHERE[trap].partition("::")
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = replace(subject("uld"), run=lambda case: case.pivot.logits.sum())
    results = {result.check: result for result in conformance(wrong)}
    assert list(results) == list(CHECKS)
    assert results["mask"].passed is False
    assert "gradient" in results["mask"].seen
    assert results["wide_ids"].passed is None
    assert results["split"].passed
    for tested, code in (([subject("sft")], 0), ([wrong], 1)):
        monkeypatch.setattr(__main__, "subjects", lambda tested=tested: tested)
        for arguments in ([], ["--json"]):
            monkeypatch.setattr(sys, "argv", ["conformance", *arguments])
            assert __main__.main() == code
        out = capsys.readouterr().out
        assert "FAIL" in out if code else "FAIL" not in out
        assert len(json.loads(out[out.index("[\n") :])) == len(CHECKS)


def test_trl_is_asked_for_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(InputError, match=r"cannot be imported .*\npip install --no-deps trl"):
        gold()
    monkeypatch.setattr(sys, "argv", ["conformance", "--gold"])
    assert __main__.main() == 2
    assert "pip install" in capsys.readouterr().err


def test_the_adapter_of_gold_hands_over_what_trl_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the signature of trl 1.16 (checked against the real one by hand: see reports/LOG.md)."""

    class Loss:
        def __init__(self, config: Any) -> None:
            assert config.uld_token_merge_strategy == "bayesian"

        def __call__(self, *given: Tensor) -> Tensor:
            assert len(given) == 8
            for a, b in zip(given[::2], given[1::2], strict=True):  # logits, labels, ids, byte offsets
                assert a.ndim == b.ndim
                assert a.shape[:2] == given[0].shape[:2]
                assert b.shape[:2] == given[1].shape[:2]
            return (given[0].logsumexp(-1) * (given[2] != -100)).sum() / len(given[0])

    module = SimpleNamespace(ULDLoss=Loss)
    monkeypatch.setattr("importlib.import_module", lambda name: module)
    tested = gold(uld_token_merge_strategy="bayesian")
    assert tested.count(identical()) == 4
    assert caught("pivot_shift", tested)
    assert not caught("split", tested)
