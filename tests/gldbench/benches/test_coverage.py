"""The coverage table of four kinds of tokenizer on real texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gldbench.benches import coverage as coverage_table


def test_the_table(benchmark_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", str(benchmark_data), "--texts", "12", "--size", "700"]
    assert coverage_table.main([*given, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 4 * 3 * 5  # ordered pairs, and four families and their sum
    share = {(row["pivot"], row["source"], row["family"]): row["coverage"] for row in rows}
    for kind in ("byte-bpe", "unigram", "wordpiece"):  # every token of ASCII text starts where some character does
        assert share[kind, "characters", "gsm8k"] == 1
        assert 0.1 < share["characters", kind, "gsm8k"] < 0.9
    assert all(0 < value <= 1 for value in share.values())
    assert coverage_table.main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["pivot", "source", "gsm8k", "humaneval", "math500", "unicode", "all"]
    assert len(lines) == 13


def test_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("GLDBENCH_DATA", raising=False)
    assert coverage_table.main([]) == 2
    assert "no data folder" in capsys.readouterr().err
    assert coverage_table.main(["--data", str(tmp_path)]) == 2
    assert "benchmark data not found" in capsys.readouterr().err
