"""Timings: raw samples, interleaving, budgets, memory."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from gldbench.timing import interleaved, pinned_threads
from gldfusion.errors import InputError


def test_raw_samples_and_results() -> None:
    found = interleaved({"sleep": lambda: time.sleep(0.002) or "done", "nothing": lambda: "no"}, 7, budget=1)
    assert found["sleep"].result == "done"
    assert len(found["sleep"].samples) == len(found["nothing"].samples) == 7
    assert 0.002 <= found["sleep"].best <= found["sleep"].median < 0.1
    assert found["nothing"].calls > 10
    assert found["sleep"].calls == 1
    assert found["nothing"].median < 1e-4


def test_repeats_take_turns_and_no_task_always_comes_first() -> None:
    order: list[str] = []

    def task(name: str) -> None:
        order.append(name)
        time.sleep(0.0011)

    interleaved({name: lambda name=name: task(name) for name in "abc"}, 7, budget=1)
    calls = order[-42:]  # each sample comes after an untimed call
    assert calls[::2] == calls[1::2]
    rounds = ["".join(calls[i : i + 6 : 2]) for i in range(0, 42, 6)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len({one[0] for one in rounds}) > 1


def test_a_quick_task_does_not_pay_for_the_caches_that_others_emptied() -> None:
    small, large = np.random.default_rng(0).random(100_000), np.ones(8_000_000)
    alone = interleaved({"quick": lambda: small.sum()}, 7, budget=1)["quick"].best
    beside = interleaved({"slow": lambda: large.sum(), "quick": lambda: small.sum()}, 7, budget=1)["quick"].best
    assert beside < 2 * alone


def test_what_would_pass_the_budget_keeps_its_warm_up_only() -> None:
    found = interleaved({"slow": lambda: time.sleep(0.02), "quick": lambda: None}, 7, budget=0.05)
    assert found["slow"].samples == ()
    assert found["slow"].skipped.startswith("past the budget: one run took")
    assert found["slow"].median == found["slow"].first >= 0.02
    assert not found["quick"].skipped


def test_peak_memory_of_the_warm_up() -> None:
    found = interleaved({"large": lambda: float(np.ones(20_000_000).sum()), "small": lambda: 1.0}, 7, budget=1)
    large, small = found["large"].peak_bytes, found["small"].peak_bytes
    if large is None or small is None:
        pytest.skip("this system does not tell the peak memory")
    assert large > 1e8
    assert small < 5e7


def test_fewer_than_seven_repeats_are_refused() -> None:
    with pytest.raises(InputError, match="at least 7"):
        interleaved({"x": lambda: None}, 3, budget=1)


def test_threads_are_pinned_and_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pinned_threads():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
