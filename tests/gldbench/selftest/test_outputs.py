"""`gldbench selftest outputs`: published outputs of models, and where our score differs from the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gldbench.commands.selftest import selftest_app
from gldbench.selftest.outputs import ALL_FILES, run_outputs
from gldfusion.errors import InputError


def write(path: Path, *lines: tuple[str, str, str | None, float | bool | None]) -> Path:
    keys = ("task", "item_id", "output", "label")
    path.write_text("".join(json.dumps(dict(zip(keys, line, strict=True))) + "\n" for line in lines))
    return path


def command(*arguments: object) -> Any:
    done = CliRunner().invoke(selftest_app, ["outputs", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


LINES = (
    ("gsm8k", "0", "The answer is 18.", 1.0),
    ("gsm8k", "0", "She makes 18 dollars.", True),  # found without a mark
    ("gsm8k", "0", "The answer is 19.", 1.0),  # a disagreement
    ("gsm8k", "0", "Nine.\nTwo.\nSo we have 18\nin all.", None),  # only the most lenient rule finds 18
    ("gsm8k", "1", None, 0.0),
    ("arc_c", "Mercury_7175875", "Answer: C", None),
)


def test_scores_and_disagreements_per_task_and_file(tmp_path: Path, benchmark_data: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", *LINES), write(tmp_path / "b.jsonl", LINES[2])
    differ = tmp_path / "new" / "differ.jsonl"
    rows = run_outputs([first, second], benchmark_data, differ=differ)
    assert [(row.task, Path(row.file).name, row.n, row.labelled, row.disagreements) for row in rows] == [
        ("gsm8k", "a.jsonl", 5, 4, 1),
        ("gsm8k", "b.jsonl", 1, 1, 1),
        ("gsm8k", ALL_FILES, 6, 5, 2),
        ("arc_c", "a.jsonl", 1, 0, 0),
    ]
    row = rows[0]
    assert (row.strict, row.score, row.lenient) == pytest.approx((1 / 5, 2 / 5, 3 / 5))
    assert (row.label, row.score_labelled, row.share) == pytest.approx((3 / 4, 2 / 4, 1 / 4))
    assert (rows[3].label, rows[3].share) == (None, None)
    told = [json.loads(line) for line in differ.read_text().splitlines()]
    assert [(each["line"], each["item_id"], each["gold"], each["label"], each["ours"]) for each in told] == [
        (3, "0", ["18"], 1.0, 0.0),
        (1, "0", ["18"], 1.0, 0.0),
    ]
    assert (told[0]["found"], told[0]["how"], told[0]["output"]) == ("19.", "cue", "The answer is 19.")


def test_the_command_prints_a_table_or_json_and_ends_with_0(tmp_path: Path, benchmark_data: Path) -> None:
    file = write(tmp_path / "a.jsonl", *LINES)
    differ = tmp_path / "differ.jsonl"
    text = command(file, "--data", benchmark_data, "--differ", differ).stdout
    assert "disagree" in text.splitlines()[0]
    assert f"disagreements: {differ}" in text
    found = json.loads(command(file, "--data", benchmark_data, "--json").stdout)
    assert (found[0]["n"], found[0]["share"]) == (5, 0.25)


def test_a_limit_draws_the_same_lines_with_the_same_seed(tmp_path: Path, benchmark_data: Path) -> None:
    file = write(tmp_path / "a.jsonl", *(("gsm8k", "0", f"Answer: {number}", 1.0) for number in range(40)))

    def lines(seed: int) -> list[int]:
        differ = tmp_path / "differ.jsonl"
        (row,) = run_outputs([file], benchmark_data, limit=8, seed=seed, differ=differ)
        assert row.n == 8
        return [json.loads(line)["line"] for line in differ.read_text().splitlines()]

    assert lines(1) == lines(1) != lines(2)


def test_half_a_surrogate_pair_can_be_written(tmp_path: Path, benchmark_data: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"task": "gsm8k", "item_id": "0", "output": "\\ud800 Answer: 1", "label": 1}\n')
    differ = tmp_path / "differ.jsonl"
    run_outputs([file], benchmark_data, differ=differ)
    assert json.loads(differ.read_text())["output"] == "\ud800 Answer: 1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[" * 100_000, "line 1 is not JSON"),
        ("[]", 'line 1 has no key "task"'),
        ('{"task": "gsm8k", "item_id": "0", "output": "18"}', 'no key "label"'),
        (
            '{"task": "gsm8k", "item_id": "0", "output": "18", "label": 2}',
            "label: expected a number from 0 to 1, got 2",
        ),
        (
            '{"task": "gsm8k", "item_id": "0", "output": "18", "label": "yes"}',
            "expected a number from 0 to 1, got 'yes'",
        ),
        ('{"task": "gsm8k", "item_id": "0", "output": "18", "label": NaN}', "a number from 0 to 1, got nan"),
        ('{"task": "gsm8k", "item_id": "0", "output": 18, "label": 1}', "output: expected a text, got 18"),
        ('{"task": "gsm8k", "item_id": "0", "output": "18", "label": 1, "from": 3}', "from: expected a text, got 3"),
        (
            '{"task": "gsm8", "item_id": "0", "output": "18", "label": 1}',
            'no task is called "gsm8" .did you mean',
        ),
        ('{"task": "gsm8k", "item_id": "zero", "output": "18", "label": 1}', 'line 1: task gsm8k has no item "zero"'),
        ("", "holds no lines"),
    ],
)
def test_what_is_no_output_is_refused_and_nothing_is_written(
    line: str, message: str, tmp_path: Path, benchmark_data: Path
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(line)
    with pytest.raises(InputError, match=message):
        run_outputs([file], benchmark_data, differ=tmp_path / "differ.jsonl")
    assert list(tmp_path.iterdir()) == [file]


def test_missing_files_and_folders_are_refused(tmp_path: Path, benchmark_data: Path) -> None:
    with pytest.raises(InputError, match="file of outputs not found"):
        run_outputs([tmp_path / "none.jsonl"], benchmark_data)
    with pytest.raises(InputError, match=r"--differ: .* is a folder"):
        run_outputs([write(tmp_path / "a.jsonl", *LINES)], benchmark_data, differ=tmp_path)
