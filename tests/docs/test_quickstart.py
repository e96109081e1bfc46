"""The three journeys of docs/quickstart.md: every block is run as it is printed, in an empty folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from gldbench.store import Store

PAGE = "docs/quickstart.md"
Follow = Callable[..., list[tuple[str, str]]]


def test_fuse_my_models(journey_1: Any) -> None:
    folder, said = journey_1
    model = AutoModelForCausalLM.from_pretrained(folder / "fused")
    assert len(AutoTokenizer.from_pretrained(folder / "fused")) == model.config.vocab_size
    assert json.loads((folder / "fused" / "fusion.json").read_text())["recipe"]["name"] == "first-fusion"
    sizes = {len(AutoTokenizer.from_pretrained(path)) for path in (folder / "models").iterdir()}
    assert len(sizes) == 3, "the tokenizers are to differ"
    assert_printed(said)


def test_evaluate_my_checkpoint(fused: Path, section: Any, blocks: Any, follow: Follow) -> None:
    said = follow(blocks(section(PAGE, "## 2. Evaluate my checkpoint")), fused)
    scores = json.loads((fused / "results" / "evaluation.json").read_text())["scores"]
    assert [score["subject"].partition("@")[0] for score in scores] == ["fused", "pivot"]
    assert [score["headline"]["score"] for score in scores] == pytest.approx([2 / 3, 0])
    assert all(row.variant.endswith("+changed-data") for row in Store(fused / "results").rows())
    assert_printed(said)


@pytest.mark.slow
def test_bound_a_distance(tmp_path: Path, section: Any, blocks: Any, follow: Follow) -> None:
    said = follow(blocks(section(PAGE, "## 3. Bound a Gromov-Wasserstein distance")), tmp_path)
    bounds = json.loads((tmp_path / "bounds.json").read_text())
    low, high = bounds["interval"]
    assert {"lower", "upper", "exact", "ggw_sum", "ggw_mean", "why_null"} <= set(bounds)
    assert low <= high == pytest.approx(bounds["exact"])
    assert_printed(said)


def assert_printed(said: list[tuple[str, str]]) -> None:
    """What the page shows is what was printed. `...` stands for any lines, a number for any number."""
    for shown, printed in said:
        parts = [_shape(line) for line in shown.splitlines()]
        pattern = "\n".join("(?:.*\n)*?.*" if part == "..." else re.escape(part) for part in parts)
        got = "\n".join(_shape(line) for line in printed.splitlines())
        assert re.fullmatch(pattern, got), f"the page shows\n{shown}\nprinted was\n{printed}"


def _shape(line: str) -> str:
    """A line without what differs between machines: numbers, hashes, widths of columns, the reader's folders."""
    line = re.sub(r"@[0-9a-f]{8}\b", "@#", line)
    line = re.sub(r"(/[\w.-]+)+/", "/", line) if "://" not in line else line
    line = re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "#", line)
    return re.sub(r"-{2,}", "--", " ".join(line.split()))
