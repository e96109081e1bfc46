"""Where the time of a run goes."""

from __future__ import annotations

import pytest

from gldbench import spent
from gldbench.jobs import Ran
from gldbench.spent import Clock, Spent


def test_the_seconds_of_a_run_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers: 100 s of jobs within 60 s, after a start of 3 s + 5 s; the report takes 7 s."""
    times = iter((1000.0, 1068.0, 1075.0))
    monkeypatch.setattr(spent.time, "perf_counter", lambda: next(times))
    clock = Clock(workers=2)
    seconds = {"data": 4.0, "train pivot": 30.0, "train source-a": 40.0, "tune sft@1": 2.0, "fuse sft-seed0": 24.0}
    clock.jobs_done(Ran(seconds, start=5.0, elapsed=65.0))
    assert clock.spent() == [
        Spent("start", 0, 8.0),
        Spent("data", 1, 4.0),
        Spent("train", 2, 70.0),
        Spent("fuse", 1, 24.0),
        Spent("tune", 1, 2.0),
        Spent("idle", 0, 20.0),
        Spent("report", 0, 7.0),
        Spent("elapsed", 0, 75.0),
    ]
    assert clock.words("fuse") == "make fused checkpoints"
    assert clock.words("tune") == "tune"


def test_a_run_without_jobs_spends_its_time_on_start_and_report(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((10.0, 12.0, 15.0))
    monkeypatch.setattr(spent.time, "perf_counter", lambda: next(times))
    clock = Clock(workers=2)
    clock.jobs_done(Ran())
    assert [(s.kind, s.seconds) for s in clock.spent()] == [
        ("start", 2.0),
        ("idle", 0.0),
        ("report", 3.0),
        ("elapsed", 5.0),
    ]
