"""Errors in names and paths end `eval`, `score` and `compare` before torch, transformers or lm_eval is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# calls the command line with each list of arguments in turn, all in one process: what one imports, the next one shows
DRIVER = """
import json, sys
from gldbench import cli

for arguments in json.loads(sys.argv[1]):
    sys.argv = ["gldbench", *arguments]
    code = "no exit"
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code
    heavy = [name for name in ("torch", "transformers", "lm_eval") if name in sys.modules]
    print(json.dumps({"arguments": arguments, "code": code, "heavy": heavy}))
"""


def outcomes(calls: list[list[str]]) -> tuple[list[dict[str, object]], str]:
    """The exit code and the heavy modules after each call, and standard error of all calls."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(calls)], capture_output=True, text=True, timeout=120, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def checkpoint(folder: Path) -> str:
    """Files by the names that a checkpoint has; none of them can be read."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    return str(folder)


def without(arguments: list[str], option: str) -> list[str]:
    """The arguments without an option and its value."""
    place = arguments.index(option)
    return arguments[:place] + arguments[place + 2 :]


def test_eval(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    model, absent = checkpoint(tmp_path / "model"), str(tmp_path / "absent")
    good = ["eval", model, "--tasks", "gsm8k", "--data", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
    wrong = {
        'no task is called "gsm8"': [*without(good, "--tasks"), "--tasks", "gsm8"],
        "no task is named": [*without(good, "--tasks"), "--tasks", ","],
        "benchmark data not found": good,
        "not a checkpoint": ["eval", absent, *good[2:]],
        'no grader is called "our"': [*good, "--harness", "our"],
        'no backend is called "vlm"': [*good, "--backend", "vlm"],
        'no variant "cot"': [*good, "--variant", "cot"],
    }
    found, errors = outcomes(list(wrong.values()))
    assert [(one["code"], one["heavy"]) for one in found] == [(2, [])] * len(wrong)
    assert [message for message in wrong if message not in errors] == []
    assert not (tmp_path / "out").exists()


def test_score(tmp_path: Path) -> None:
    responses = tmp_path / "responses.jsonl"
    responses.write_text('{"item_id": "0", "output": ""}\n')
    good = ["score", "gsm8k", str(responses), "--data", str(tmp_path)]
    wrong = {
        'no task is called "gsm8"': ["score", "gsm8", *good[2:]],
        "benchmark data not found": good,
        'no grader is called "our"': [*good, "--harness", "our"],
    }
    found, errors = outcomes(list(wrong.values()))
    assert [(one["code"], one["heavy"]) for one in found] == [(2, [])] * len(wrong)
    assert [message for message in wrong if message not in errors] == []


def test_score_with_bad_responses(tmp_path: Path, benchmark_data: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"item_id": "x", "output": ""}\n')
    calls = [
        ["score", "gsm8k", str(tmp_path / name), "--data", str(benchmark_data)] for name in ("bad.jsonl", "absent")
    ]
    found, errors = outcomes(calls)
    assert [(one["code"], one["heavy"]) for one in found] == [(2, [])] * 2
    assert "has no item" in errors
    assert "file of responses not found" in errors


def test_compare(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty, absent = str(tmp_path / "empty"), str(tmp_path / "absent")
    pairs = [[absent, empty], [empty, empty], [empty, empty, "--task", ","]]
    found, errors = outcomes([["compare", *pair] for pair in pairs])
    assert [(one["code"], one["heavy"]) for one in found] == [(2, [])] * 3
    assert "no folder" in errors
    assert "holds no rows" in errors
