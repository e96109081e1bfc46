"""Files of other harnesses are scored: their items are found, and what cannot be matched is counted and refused."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gldbench import cli
from gldbench.evaluate.foreign import READERS, format_of, inspect_log
from gldbench.evaluate.score import score
from gldbench.sandbox import launch
from gldbench.tasks import load_items, load_task
from gldfusion.errors import InputError

from .conftest import ROWS

LmEval = Callable[..., Path]


def right(prompt: str, number: int = 0) -> str:
    """The gold answer of the row whose question stands in the prompt, for the first four rows; else a wrong one."""
    row = max((row for row in ROWS[:4] if row["q"] in prompt), key=lambda row: len(row["q"]), default=None)
    return f"It is {row['gold']}." if row else "It is 99."


def test_lm_eval_samples(toy: Path, lm_eval_file: LmEval) -> None:
    path = lm_eval_file(ROWS, right)
    assert format_of(path) == "lm-eval"
    assert path.read_text().count("\n") == 2 * len(ROWS), "lm-eval writes a line for each filter"
    result = score("toy", path, toy / "data", ["ours"], items_file=toy / "items.jsonl")
    assert (result["format"], result["n"], result["unmatched"], result["samples"]) == ("lm-eval", 5, 0, None)
    assert result["headline"]["score"] == 0.8
    items = [json.loads(line) for line in (toy / "items.jsonl").read_text().splitlines()]
    assert {item["item"]: item["sides"][0]["output"] for item in items} == {
        "0": "It is 3.",
        "1": "It is 4.",
        "2": "It is 5.",
        "3": "It is 0.",
        "4": "It is 99.",
    }


def test_lm_eval_repeats_are_samples(toy: Path, lm_eval_file: LmEval) -> None:
    def sometimes(prompt: str, number: int) -> str:
        return right(prompt) if number != 1 else "It is 99."

    result = score("toy", lm_eval_file(ROWS, sometimes, repeats=4), toy / "data", ["ours"])
    assert result["headline"]["score"] == pytest.approx(0.6)  # four of five items right in three of four samples
    assert (result["samples"]["fewest"], result["samples"]["most"]) == (4, 4)
    passed = result["samples"]["pass_at"]
    assert list(passed) == ["1", "2"]
    assert passed["1"]["score"] == pytest.approx(0.6)
    assert passed["2"]["score"] == pytest.approx(0.8)
    assert passed["1"]["low"] < 0.6 < passed["1"]["high"]


def test_lm_eval_log_likelihoods(lm_eval_file: LmEval, benchmark_data: Path) -> None:
    task = load_task("arc_c_ll")
    items = load_items(task, benchmark_data, 6)
    rows = [
        {
            "id": item.item_id,
            "question": item.record["question"]["stem"],
            "options": [choice.strip() for choice in item.choices],
            "gold": "ABCDE".index(item.target),
        }
        for item in items
    ]
    path = lm_eval_file(
        rows,
        output_type="multiple_choice",
        doc_to_text="Question: {{question}}\nAnswer:",
        doc_to_choice="{{options}}",
        doc_to_target="{{gold}}",
        filter_list=None,
        generation_kwargs=None,
        metric_list=[{"metric": "acc"}],
    )
    result = score("arc_c_ll", path, benchmark_data, ["ours"])
    shortest = [min(range(len(row["options"])), key=lambda i, row=row: len(row["options"][i])) for row in rows]
    assert result["n"] == 6
    assert result["headline"]["score"] == pytest.approx(
        sum(place == row["gold"] for place, row in zip(shortest, rows, strict=True)) / 6
    )
    with pytest.raises(InputError, match="arc_c grades texts"):
        score("arc_c", path, benchmark_data, ["ours"])


def test_two_runs_in_one_lm_eval_file_are_refused(toy: Path, lm_eval_file: LmEval) -> None:
    path = lm_eval_file(ROWS, right)
    path.write_text(path.read_text() + path.read_text().replace("It is 3.", "It is 7."))
    with pytest.raises(InputError, match="has other responses than on line"):
        score("toy", path, toy / "data", ["ours"])


@pytest.mark.skipif(importlib.util.find_spec("evalplus") is None, reason="evalplus is not installed")
@pytest.mark.parametrize("kind", ["solution", "completion"])
def test_evalplus_samples(kind: str, tmp_path: Path, benchmark_data: Path) -> None:
    if reason := launch.trouble():
        pytest.skip(f"no sandbox: {reason}")
    from evalplus.data import write_jsonl

    items = load_items(load_task("humaneval_plus"), benchmark_data, 3)
    samples = []
    for item in items:
        prompt, body = item.record["prompt"], item.record["canonical_solution"]
        wrong = "    return None\n"
        for text in (body, body, wrong):
            samples.append({"task_id": item.item_id, kind: prompt + text if kind == "solution" else text})
    path = tmp_path / "samples.jsonl"
    write_jsonl(str(path), samples)
    assert format_of(path) == "evalplus"
    result = score("humaneval_plus", path, benchmark_data, ["ours"])
    assert (result["n"], result["unmatched"]) == (3, 0)
    assert result["headline"]["score"] == pytest.approx(2 / 3)
    assert result["samples"]["pass_at"]["2"]["score"] == pytest.approx(1.0)


def predictions(rows: list[dict[str, Any]], answer: Callable[[str], Any]) -> dict[str, Any]:
    """OpenCompass's layout, with one worked example in a turn of its own."""
    example = [{"role": "HUMAN", "prompt": "Q: What is 1 + 1?\nA:"}, {"role": "BOT", "prompt": "2"}]
    return {
        str(place): {
            "origin_prompt": [*example, {"role": "HUMAN", "prompt": f"Q:  {row['q']}\nA:"}],
            "prediction": answer(row["q"]),
            "gold": row["gold"],
        }
        for place, row in enumerate(rows)
    }


def test_opencompass_predictions(toy: Path) -> None:
    path = toy / "toy.json"
    path.write_text(json.dumps(predictions(ROWS[::-1], right), indent=1))
    assert format_of(path) == "opencompass"
    result = score("toy", path, toy / "data", ["ours"])
    assert (result["n"], result["headline"]["score"]) == (5, 0.8)
    path.write_text(json.dumps(predictions(ROWS, lambda q: [right(q), "It is 99."])))
    result = score("toy", path, toy / "data", ["ours"])
    assert result["headline"]["score"] == pytest.approx(0.4)
    assert result["samples"]["pass_at"]["2"]["score"] == pytest.approx(0.8)


def test_what_cannot_be_matched_is_counted_and_refused(toy: Path) -> None:
    path = toy / "toy.json"
    other = {"q": "Who?", "gold": "me"}
    path.write_text(json.dumps(predictions([*ROWS, other], right)))
    with pytest.raises(InputError, match=r"1 of 6 records .* belong to no item of toy, the first is .*entry \"5\""):
        score("toy", path, toy / "data", ["ours"])
    result = score("toy", path, toy / "data", ["ours"], partial=True)
    assert (result["n"], result["unmatched"]) == (5, 1)
    assert "1 of 6 records belong to no item" in result["notes"][0]
    path.write_text(json.dumps(predictions([other], right)))
    with pytest.raises(InputError, match="none of the 1 records"):
        score("toy", path, toy / "data", ["ours"], partial=True)


def test_a_response_twice_is_no_sample(toy: Path) -> None:
    """Two entries with the same question are two records for one item: the second has no item left."""
    path = toy / "toy.json"
    path.write_text(json.dumps(predictions([*ROWS, ROWS[0]], right)))
    with pytest.raises(InputError, match="1 of 6 records"):
        score("toy", path, toy / "data", ["ours"])


@pytest.mark.parametrize(
    ("content", "wanted", "told"),
    [
        ('{"a": 1}\n', "auto", "none of the known formats"),
        ("{", "opencompass", "is not JSON"),
        ("[]", "opencompass", "expected an object"),
        ('{"0": {"prediction": "x"}}', "opencompass", "no origin_prompt"),
        ('{"0": {"origin_prompt": "x", "prediction": 3}}', "opencompass", "prediction must be a text"),
        ('{"0": {"origin_prompt": "x", "prediction": []}}', "opencompass", "an empty list"),
        ('{"doc": {}, "doc_id": 0, "resps": []}', "lm-eval", "resps must be lists"),
        ('{"doc": {}, "doc_id": 0, "resps": [[["x", "y"]]]}', "lm-eval", "no log-likelihoods"),
        ('{"doc": {}}', "lm-eval", "has no doc_id, resps"),
        ("[1]", "lm-eval", "expected a JSON object"),
        ('{"task_id": "HumanEval/0"}', "evalplus", "no solution or completion"),
        ('{"task_id": "HumanEval/0", "solution": 5}', "evalplus", "solution must be a text"),
        ('{"solution": ""}', "evalplus", "no task_id"),
        ("", "lm-eval", "none of the 0 records"),
        ("{}", "inspet", 'did you mean "inspect"'),
    ],
)
def test_bad_files_are_told(toy: Path, content: str, wanted: str, told: str) -> None:
    path = toy / "file.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        score("toy", path, toy / "data", ["ours"], file_format=wanted)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_our_own_format_is_found_and_holds_samples(toy: Path) -> None:
    path = toy / "own.jsonl"
    path.write_text('{"item_id": 0, "output": ["3", "4"]}\n{"item_id": 1, "output": "4"}\n')
    ended = CliRunner().invoke(cli.app, ["score", "toy", str(path), "--data", str(toy / "data"), "--harness", "ours"])
    assert ended.exit_code == 0, ended.output
    assert "1 to 2 responses per item" in ended.output
    assert "pass@1: 0.7500" in ended.output
    result = score("toy", path, toy / "data", ["ours"], items_file=toy / "items.jsonl")
    assert result["headline"]["score"] == pytest.approx(0.75)
    assert result["headline"]["strict"] <= result["headline"]["lenient"]
    sides = [
        [side["output"] for side in json.loads(line)["sides"]]
        for line in (toy / "items.jsonl").read_text().splitlines()
    ]
    assert sides == [["3", "4"], ["4"]]


def test_without_inspect_the_message_says_so(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy / "log.eval"
    path.write_bytes(b"PK")
    monkeypatch.setitem(__import__("sys").modules, "inspect_ai.log", None)
    monkeypatch.setitem(__import__("sys").modules, "inspect_ai", None)
    with pytest.raises(InputError, match=r"pip install 'gldbench\[inspect\]'"):
        score("toy", path, toy / "data", ["ours"])
    assert set(READERS) == {"lm-eval", "evalplus", "opencompass", "inspect"}


@pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="inspect-ai is not installed")
def test_a_log_that_unpacks_to_far_more_is_refused(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/1.json", bytes(3 * 2**20))
    assert path.stat().st_size < 2**16
    monkeypatch.setattr(inspect_log, "LARGEST_LOG", 2**21)
    with pytest.raises(InputError, match="it unpacks to 3 MiB"):
        score("toy", path, toy / "data", ["ours"])
