"""The kernel benchmarks at small sizes: the contenders of a task agree, and rows say what was not measured."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from gldbench.benches import uld as bench_uld
from gldbench.benches.contenders import CONTENDERS
from gldbench.benches.cross_entropy import medians, ratios
from gldbench.benches.kernel_inputs import Problem, Size
from gldbench.benches.measure_kernels import PEAK, SECONDS, measure_time, one_pass, skipped_rows
from gldbench.benches.write_rows import write

SIZE = Size(positions=24, width=8, vocabulary=300, k=4)


@pytest.mark.parametrize(("dense", "ours"), [("dense", "chunked"), ("dense_ce", "chunked_ce")])
def test_contenders_of_a_task_compute_the_same(dense: str, ours: str) -> None:
    problem = Problem.make(SIZE)
    want, got = CONTENDERS[dense].work(problem), CONTENDERS[ours].work(problem)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    other = CONTENDERS["dense_ce" if dense == "dense" else "dense"].work(problem)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(got, other, rtol=1e-5, atol=1e-6)


def test_a_problem_is_the_same_in_every_process() -> None:
    assert torch.equal(Problem.make(SIZE).weight, Problem.make(SIZE).weight)


@pytest.mark.skipif(torch.cuda.is_available(), reason="no CUDA device is what it tests")
def test_what_cannot_run_is_a_row_with_its_reason() -> None:
    rows = skipped_rows(SIZE, ("dense", "triton", "liger"))
    assert {(r.subject, r.metric) for r in rows} == {(s, m) for s in ("triton", "liger") for m in (SECONDS, PEAK)}
    assert all(
        r.status == "skipped" and r.value is None and ("CUDA" in r.reason or "installed" in r.reason) for r in rows
    )


def test_rows(tmp_path: Path) -> None:
    rows = measure_time(("dense", "chunked"), SIZE, threads=1, repeats=7)
    assert [r.item for r in rows if r.subject == "chunked"] == [str(i) for i in range(7)]
    (ratio,) = ratios(rows, SIZE)
    found = medians(rows, SECONDS)
    assert ratio.value == found["chunked"] / found["dense"]
    path = write([*rows, ratio, *skipped_rows(SIZE, ("liger",))], tmp_path, "bench", threads=1)
    frame = pd.read_csv(path)
    environment = json.loads((tmp_path / "bench.environment.json").read_text())
    assert set(frame.env_id) == {environment["env_id"]}
    assert len(frame) == 14 + 1 + len(skipped_rows(SIZE, ("liger",)))


def test_memory_leaves_out_the_gradients() -> None:
    size = Size(positions=64, width=64, vocabulary=60_000, k=4)
    peak, seconds = one_pass("dense", size, threads=1)
    assert seconds > 0
    if peak is not None:
        assert 64 * 60_000 * 4 < peak < 10 * 64 * 60_000 * 4  # 15 MiB of logits, 15 MiB of gradients left out


def test_uld_of_a_source_that_is_the_pivot_is_nothing() -> None:
    problem = Problem.make(SIZE)
    source = (problem.hidden @ problem.weight.T).detach()
    for loss in (bench_uld.full, bench_uld.topk):
        assert loss(problem, source).item() < 1e-5
        assert loss(problem, source.flip(0)).item() > 1e-2
