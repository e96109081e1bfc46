"""`gldbench selftest cases`: outputs whose right grade is known, from a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gldbench.commands.selftest import selftest_app
from gldbench.selftest.given import read_cases, run_cases
from gldfusion.errors import InputError


def write(path: Path, *cases: tuple[str, str, str, float, str]) -> Path:
    keys = ("task", "item_id", "output", "expect", "kind")
    path.write_text("".join(json.dumps(dict(zip(keys, case, strict=True))) + "\n" for case in cases))
    return path


def test_several_outputs_of_an_item_are_graded_and_counted_by_kind(tmp_path: Path, benchmark_data: Path) -> None:
    file = write(
        tmp_path / "cases.jsonl",
        ("gsm8k", "0", "**Answer**: 18", 1, "emphasis"),
        ("gsm8k", "0", "**Answer**: 19", 0, "emphasis"),
        ("arc_c", "Mercury_7175875", "Answer: None of the above. (C)", 0, "refusal"),
    )
    graded = run_cases(file, benchmark_data)
    assert [(case.value, case.missed, case.how) for case in graded] == [
        (1.0, False, "cue"),
        (0.0, False, "cue"),
        (0.0, False, "none"),
    ]
    done = CliRunner().invoke(selftest_app, ["cases", str(file), "--data", str(benchmark_data), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["kinds"] == {"emphasis": {"n": 2, "missed": 0}, "refusal": {"n": 1, "missed": 0}}


def test_a_missed_case_is_told_and_ends_with_1(tmp_path: Path, benchmark_data: Path) -> None:
    file = write(tmp_path / "cases.jsonl", ("gsm8k", "0", "Answer: 19", 1, "planted"))
    done = CliRunner().invoke(selftest_app, ["cases", str(file), "--data", str(benchmark_data)])
    assert done.exit_code == 1
    assert "expected 1, got 0" in done.stdout
    assert "0 of 1 cases are right" in done.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 1 is not JSON"), ('{"task": "gsm8k"}', 'no key "item_id"'), ("", "holds no lines")],
)
def test_what_is_no_case_is_refused(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(line)
    with pytest.raises(InputError, match=message):
        read_cases(file)
