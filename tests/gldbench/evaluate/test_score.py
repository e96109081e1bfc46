"""`gldbench score`: responses from a file are graded, or refused with the line and the item."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gldbench.commands.score import score as score_command
from gldbench.evaluate.score import score
from gldbench.tasks import load_items, load_task
from gldfusion.errors import InputError

Writer = Callable[..., Path]


@pytest.fixture
def lines(tmp_path: Path) -> Writer:
    """Writes a file of responses: a dictionary is a line of JSON, bytes are a line as they are."""

    def write(*rows: dict[str, Any] | bytes, end: bytes = b"\n") -> Path:
        path = tmp_path / "responses.jsonl"
        content = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
        path.write_bytes(b"".join(line + end for line in content))
        return path

    return write


def row(item_id: object, output: object) -> dict[str, Any]:
    return {"item_id": item_id, "output": output}


def golds(name: str, data: Path) -> dict[str, str]:
    return {item.item_id: item.target for item in load_items(load_task(name), data)}


def test_the_items_given_are_graded_and_counted(lines: Writer, benchmark_data: Path) -> None:
    target = golds("gsm8k", benchmark_data)
    path = lines(row(7, f"\\boxed{{{target['7']}}}"), row("3", "\\boxed{-1}"), row(0, None), row("9", ""))
    found = score("gsm8k", path, benchmark_data)
    assert {key: found[key] for key in ("task", "n", "n_task")} == {"task": "gsm8k", "n": 4, "n_task": 1319}
    first = dataclasses.asdict(load_task("gsm8k").headline)
    assert {key: found["headline"][key] for key in (*first, "score")} == {**first, "score": 0.25}
    assert first["grader"] == "ours"
    assert found["headline"]["low"] < 0.25 < found["headline"]["high"]
    assert {name: own["score"] for name, own in found["graders"].items()} == {"ours": 0.25, "lm_eval": 0.25}
    assert (found["graders"]["ours"]["no_answer"], found["graders"]["ours"]["errors"]) == (2, 0)
    assert found["graders"]["lm_eval"]["filter"] == "flexible-extract"
    assert not found["changed_data"]


def test_any_text_is_an_output(lines: Writer, benchmark_data: Path) -> None:
    target = golds("gsm8k", benchmark_data)
    right = f"\\boxed{{{target['0']}}}"
    path = lines(
        b"",
        row(0, f"one\u2028two\x85three\r\n{right}"),
        {"output": right, "item_id": 1, "model": "other keys are ignored"},
        b'{"item_id": 2, "output": "half a pair \\ud800"}',
        row(3, "9" * 2_000_000),
        b"   ",
        end=b"\r\n",
    )
    found = score("gsm8k", path, benchmark_data)
    assert found["n"] == 4
    assert found["headline"]["score"] == 0.25 + 0.25 * (target["0"] == target["1"])


def test_a_subtask_is_a_task(lines: Writer, benchmark_data: Path) -> None:
    task = load_task("bbh/navigate")
    first = load_items(task, benchmark_data)[0]
    found = score("bbh/navigate", lines(row(first.item_id, f"So the answer is {first.target}.")), benchmark_data)
    assert (found["n"], found["n_task"], found["headline"]["score"]) == (1, 250, 1.0)
    with pytest.raises(InputError, match='task bbh/navigate has no item "0"'):
        score("bbh/navigate", lines(row(0, "")), benchmark_data)


def test_graders_that_do_not_apply_are_absent(lines: Writer, benchmark_data: Path) -> None:
    (first, *_) = golds("hellaswag", benchmark_data)
    found = score("hellaswag", lines(row(first, "A")), benchmark_data, ["lm_eval"])
    assert set(found["graders"]) == {"ours"}
    assert found["not_applicable"] == ["lm_eval"]


def test_instructions_are_counted_one_by_one(lines: Writer, benchmark_data: Path) -> None:
    items = load_items(load_task("ifeval"), benchmark_data)[:2]
    counts = [len(item.record["instruction_id_list"]) for item in items]
    assert counts[0] != counts[1]
    path = lines(row(items[0].item_id, ""), row(items[1].item_id, "a title without the sign\nbut with words"))
    for own in score("ifeval", path, benchmark_data)["graders"].values():
        filters = own["filters"].values()
        by_instruction = [value for each in filters for metric, value in each.items() if metric.startswith("inst")]
        assert by_instruction
        assert all(abs(value * sum(counts) - round(value * sum(counts))) < 1e-9 for value in by_instruction)


BAD: list[tuple[tuple[dict[str, Any] | bytes, ...], str]] = [
    ((row(0, ""), row("99999", "")), r'line 2: task gsm8k has no item "99999"'),
    ((row("12a", ""),), 'did you mean "12"'),
    ((row(0, ""), b"", row("0", "")), 'line 3: line 1 already has a response to item "0"'),
    ((b"{",), "line 1 is not JSON"),
    ((b"\xff\xfe",), "line 1 is not JSON"),
    ((b"[" * 100_000,), "line 1 is not JSON"),
    ((b"[1]",), "line 1: expected an object"),
    (({"item_id": 0},), r'line 1 \(item "0"\) has no key "output"'),
    (({"item_id": 0, "outptu": ""},), 'is "outptu" meant'),
    (({"id": 0, "output": ""},), 'has no key "item_id"'),
    ((row(True, ""),), "line 1: item_id must be a text or a whole number, got True"),
    ((row(1.0, ""),), "line 1: item_id must be"),
    ((row(0, [1]),), 'item "0": output must be a text, null or a list of them'),
    ((), "holds no responses"),
    ((b" ", b""), "holds no responses"),
]


@pytest.mark.parametrize(("rows", "message"), BAD)
def test_bad_lines_are_refused_by_number(
    rows: tuple[dict[str, Any] | bytes, ...], message: str, lines: Writer, benchmark_data: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        score("gsm8k", lines(*rows), benchmark_data, ["ours"])
    assert str(caught.value).count("\n") < 3
    assert max(map(len, str(caught.value).splitlines())) < 250 + len(str(lines()))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path, benchmark_data: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(InputError, match=r"expected a file of responses, got a folder|file of responses not found"):
            score("gsm8k", path, benchmark_data)


def test_changed_data_is_refused_or_said(lines: Writer, tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "1+1?", "answer": "#### 2"}\n')
    path = lines(row(0, "\\boxed{2}"))
    with pytest.raises(InputError, match="not the data"):
        score("gsm8k", path, tmp_path)
    found = score("gsm8k", path, tmp_path, ["ours"], allow_changed=True)
    assert (found["n_task"], found["headline"]["score"], found["changed_data"]) == (1, 1.0, True)


def test_the_command_prints_a_table_or_json(lines: Writer, benchmark_data: Path) -> None:
    app, path = typer.Typer(), lines(row(0, "\\boxed{18}"))
    app.command()(score_command)
    call = ["gsm8k", str(path), "--data", str(benchmark_data), "--harness", "ours"]
    shown = CliRunner().invoke(app, call)
    assert shown.exit_code == 0
    assert shown.output.startswith("gsm8k: exact_match 1.0000 (")
    assert "1 of 1319 items, by ours under" in shown.output
    document = json.loads(CliRunner().invoke(app, [*call, "--json"]).output)
    assert document["headline"]["score"] == 1.0
    refused = CliRunner().invoke(app, [*call[:-1], "opencompass"])
    assert isinstance(refused.exception, InputError)


def test_all_of_gsm8k_by_every_grader(lines: Writer, benchmark_data: Path) -> None:
    """In a process of its own: imports count."""
    target = golds("gsm8k", benchmark_data)
    path = lines(*(row(item_id, f"so \\boxed{{{gold}}}") for item_id, gold in target.items()))
    code = "import json, sys; from pathlib import Path; from gldbench.evaluate.score import score; "
    code += "print(json.dumps(score('gsm8k', Path(sys.argv[1]), Path(sys.argv[2]))))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(benchmark_data)],
        capture_output=True, text=True, timeout=280, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["n"], {own["score"] for own in found["graders"].values()}) == (1319, {1.0})
    assert {"ours", "lm_eval"} <= set(found["graders"])


def test_our_grader_starts_without_torch(lines: Writer, benchmark_data: Path) -> None:
    code = "import sys; from pathlib import Path; from gldbench.evaluate.score import score; "
    code += "score('gsm8k', Path(sys.argv[1]), Path(sys.argv[2]), ['ours']); "
    code += "print([m for m in ('torch', 'transformers', 'lm_eval') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(lines(row(0, ""))), str(benchmark_data)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_text_is_no_response_to_a_log_likelihood_task(lines: Writer, benchmark_data: Path) -> None:
    item = load_items(load_task("arc_c_ll"), benchmark_data, 1)[0]
    with pytest.raises(InputError, match=r"texts are scored by the task arc_c$"):
        score("arc_c_ll", lines(row(item.item_id, item.target)), benchmark_data)
    values = {"loglikelihoods": [-float(letter != item.target) for letter in "ABCD"], "greedy": [False] * 4}
    found = score("arc_c_ll", lines(row(item.item_id, json.dumps(values))), benchmark_data, graders=("ours",))
    assert found["headline"]["score"] == 1.0
