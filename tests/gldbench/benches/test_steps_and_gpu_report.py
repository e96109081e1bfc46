"""The bench of whole steps, and the report of a GPU: run dry on the CPU."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from gldbench.benches import gpu_report, steps
from gldbench.benches.equality import SMALL
from gldbench.benches.write_gpu_report import as_markdown
from gldbench.benches.write_rows import row
from gldfusion.kernels.chunked import Chunked

REPOSITORY = Path(__file__).resolve().parents[3]
ABSENT = "import sys; sys.modules.update(dict.fromkeys(('lm_eval', 'ot', 'triton'))); "
FAILED = "not measured: it failed the equality test"
DRY = "from gldbench.benches.gpu_report import main; sys.exit(main(['--dry-run', '--output', 'gpu']))"


def test_all_terms_agree_with_the_naive_kernel() -> None:
    """What the bench compares is the same step: each loss on the tiled kernel, and on all logits at once."""
    size = dataclasses.replace(steps.StepSize(2, 16, 64, 1, 600, 4), precision="no")
    batch = steps.make_batch(size)
    for terms in steps.TERMS.values():
        found = []
        for kernel in ("chunked", "naive"):
            model = steps.make_model(size)
            values = steps.make_step(size, model, batch, terms, kernel, steps.make_optimizer(model))()
            found.append((values, [p.detach().clone() for p in model.parameters()]))
        assert (found[0][0] > 0).all()
        torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_dry_report_without_optional_packages(tmp_path: Path) -> None:
    """One command in a process of its own: it writes the rows and the report, and says that nothing was measured."""
    done = subprocess.run(
        [sys.executable, "-c", ABSENT + DRY],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'reference'}", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    names = {"gpu_report.quick.csv", "gpu_report.quick.environment.json", "gpu_report.quick.md"}
    assert {path.name for path in (tmp_path / "gpu").iterdir()} == names
    text = (tmp_path / "gpu" / "gpu_report.quick.md").read_text()
    assert "Not measured: no GPU was at hand." in text
    assert text.strip() == done.stdout.strip()
    frame = pd.read_csv(tmp_path / "gpu" / "gpu_report.quick.csv")
    assert set(frame.task) == {"equality", "ce+topk", "ce", "step", "gw"}
    assert set(frame.status) == {"ok", "skipped"}
    assert frame[frame.status == "skipped"].reason.notna().all()
    assert {"dense", "chunked", "sft", "sft+minced", "ggw", "slb"} <= set(frame[frame.metric == "seconds"].subject)


def test_a_kernel_that_is_wrong_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Chunked):
        def gradient(self, *arguments: object) -> torch.Tensor:
            return super().gradient(*arguments) * 1.01  # type: ignore[arg-type]

    plan = dataclasses.replace(gpu_report.Plan.tiny("cpu"), cases=("bias",), nodes=())
    monkeypatch.setattr(gpu_report, "kernels_on", lambda device: {"chunked": Wrong(rows=3, columns=8, kept=0)})
    rows = gpu_report.measure(plan, lambda *_: None, lambda _: None)
    assert [r.status for r in rows if r.task == "equality"] == ["error"]
    ours = [r for r in rows if r.subject in ("chunked", "chunked_ce") and r.task != "equality"]
    assert {r.subject: r.reason for r in ours} == dict.fromkeys(("chunked", "chunked_ce"), FAILED)
    assert not [r for r in rows if r.task == "step"]
    assert [r for r in rows if r.subject == "dense" and r.value is not None]
    monkeypatch.setattr(gpu_report, "kernels_on", lambda device: {"chunked": SMALL})
    kept: list[int] = []
    right = gpu_report.measure(
        dataclasses.replace(plan, losses=(), steps=()), lambda *_: None, lambda rows: kept.append(len(rows))
    )
    assert [r.status for r in right] == ["ok"]
    assert kept == [1]


def test_no_part_begins_late_and_a_failing_part_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dataclasses.replace(gpu_report.Plan.tiny("cpu"), cases=(), losses=(), steps=())
    late = gpu_report.measure(dataclasses.replace(plan, seconds=-1.0), lambda *_: None, lambda _: None)
    assert [(r.task, r.reason) for r in late] == [("gw", "not measured: no time was left")]

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu_report, "bounds", fail)
    failed = gpu_report.measure(plan, lambda *_: None, lambda _: None)
    assert [(r.status, r.reason) for r in failed] == [("error", "RuntimeError: out of memory")]


def test_the_report_names_the_device() -> None:
    rows = [row("step", "8x512", "sft", "seconds", s, "s", method="triton", item=str(s)) for s in (1.0, 3.0, 2.0)]
    text = as_markdown(rows, "NVIDIA H100", small=False)
    assert "Device: NVIDIA H100." in text
    assert "| 8x512 | sft (triton) | 2 s |" in text
    assert "Not measured" not in text


def test_make_knows_the_report() -> None:
    done = subprocess.run(["make", "-n", "gpu-report"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "-m gldbench.benches.gpu_report" in done.stdout


def test_quick_steps_print_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    assert steps.main(["--quick", "--json", "--only", "sft", "sft+uld"]) == 0
    document = json.loads(capsys.readouterr().out)
    ratios = [r for r in document["rows"] if r["metric"] == "seconds/sft"]
    assert [r["subject"] for r in ratios] == ["sft+uld"]
    assert 0.1 < ratios[0]["value"] < 10
