"""Single items: what is read from an output folder, what is chosen, and how it is shown and written."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gldbench import cli
from gldbench.compare.comparison import compare
from gldbench.items.page import page
from gldbench.items.read import NO_PROMPT, NO_RESPONSE, SEVERAL, read_folder, read_items
from gldbench.items.records import Items, as_json, chosen
from gldbench.items.text import as_text, write_items
from gldbench.schema import Response, Row
from gldbench.store import Store
from gldfusion.errors import InputError

HOSTILE = "</script><script>alert(1)</script> \x1b[31m & <b>"
A, B = "small@aaaaaaaa", "large@bbbbbbbb"
TRUTH = {A: [1.0, 0.0, 0.0, 1.0], B: [1.0, 1.0, 0.0, 0.0]}
"""scores of the items 0 to 3; item 2 has no answer from A"""


def row(subject: str, item: str, value: float | None, **changes: Any) -> Row:
    base = Row(
        run_id="out",
        env_id="here",
        suite="eval",
        task="gsm8k",
        task_version=1,
        variant="default",
        subject=subject,
        method="checkpoint",
        world_seed=0,
        seed=0,
        item=item,
        cluster=item,
        grader="ours",
        filter="answer",
        metric="exact_match",
        value=value,
        unit="fraction",
        status="ok",
        reason="",
        how="cue",
        found="18",
        grader_version="2",
    )
    return dataclasses.replace(base, **changes)


def response(subject: str, item: str, output: str, **changes: Any) -> Response:
    base = Response(
        case_id=f"{subject}/{item}/{output}",
        subject=subject,
        task="gsm8k",
        item_id=item,
        prompt_hash="",
        output=output,
        prompt_tokens=3,
        output_tokens=3,
        truncated_prompt=False,
        truncated_output=False,
        seconds=0.1,
        prompt=f"Question {item}",
        gold="18",
        variant="default",
    )
    return dataclasses.replace(base, **changes)


def rows_of(subject: str) -> list[Row]:
    rows = []
    for item, value in enumerate(TRUTH[subject]):
        missing = {"status": "no_answer", "how": "none", "found": "", "reason": "no answer found"}
        changes: dict[str, Any] = missing if (subject, item) == (A, 2) else {}
        rows.append(row(subject, str(item), value, **changes))
        rows.append(row(subject, str(item), 1.0, grader="lm_eval", filter="strict-match", how=""))
    return rows


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder of `gldbench eval` with two checkpoints."""
    store = Store(tmp_path / "out")
    store.append_rows([*rows_of(A), *rows_of(B)], "rows")
    store.append_responses([response(s, str(i), f"{s} says {HOSTILE}") for s in (A, B) for i in range(4)], "responses")
    return tmp_path / "out"


def numbers(items: Items) -> list[str]:
    return [view.item for view in items.items]


def test_an_item_has_prompt_gold_responses_and_grades(out: Path) -> None:
    items = read_items([f"{out}:small", f"{out}:{B}"])
    assert items.sides == (f"{out}:{A}", f"{out}:{B}")
    assert numbers(items) == ["0", "1", "2", "3"]
    view = items.items[1]
    assert (view.task, view.prompt, view.gold) == ("gsm8k", "Question 1", "18")
    first, second = view.answers
    assert first is not None
    assert second is not None
    assert first.output == f"{A} says {HOSTILE}"
    assert (first.right, second.right) == (False, True)
    assert [(mark.grader, mark.value) for mark in first.marks] == [("ours", 0.0), ("lm_eval", 1.0)]
    assert first.headline == first.marks[0]
    assert (first.marks[0].how, first.marks[0].found) == ("cue", "18")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["0", "1", "2", "3"]),
        ({"differ": True}, ["1", "3"]),
        ({"wrong": True}, ["1", "2", "3"]),
        ({"no_answer": True}, ["2"]),
        ({"differ": True, "no_answer": True}, []),
    ],
)
def test_items_are_chosen(out: Path, options: dict[str, bool], expected: list[str]) -> None:
    assert numbers(chosen(read_items([f"{out}:{A}", f"{out}:{B}"]), **options)) == expected


def test_a_response_without_a_grade_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    """Planted bug: it counted as wrong, and as different from the grade of the other side."""
    store = Store(tmp_path / "out")
    failed = row(A, "0", None, status="error", reason="the harness failed")
    store.append_rows([failed, row(A, "1", 0.0), row(B, "0", 1.0), row(B, "1", 1.0)], "rows")
    store.append_responses([response(s, i, "18") for s in (A, B) for i in "01"], "responses")
    items = read_items([f"{tmp_path / 'out'}:{A}", f"{tmp_path / 'out'}:{B}"])
    assert [answer and answer.right for answer in items.items[0].answers] == [None, True]
    assert numbers(chosen(items, differ=True)) == numbers(chosen(items, wrong=True)) == ["1"]
    assert "not scored" in "\n".join(as_text(items))


def test_a_grader_can_decide_what_is_right(out: Path) -> None:
    items = read_items([f"{out}:{A}"], grader="lm_eval")
    assert {mark.grader for view in items.items for answer in view.answers if answer for mark in answer.marks} == {
        "lm_eval"
    }
    assert numbers(chosen(items, wrong=True)) == []


@pytest.mark.parametrize(
    ("sides", "options", "message"),
    [
        (["{out}"], {}, r"holds 2 checkpoints\nname one of\n  .*small@aaaaaaaa\n  .*large@bbbbbbbb$"),
        (["{out}:small"], {"task": "gsm9k"}, r'no side has rows of task "gsm9k" .*\nthere are rows of\n  gsm8k$'),
        (["{out}:small"], {"grader": "evalplus"}, r'no side has grades of "evalplus"'),
    ],
)
def test_what_is_not_there_is_refused(out: Path, sides: list[str], options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_items([side.format(out=out) for side in sides], **options)


def test_one_side_cannot_differ(out: Path) -> None:
    with pytest.raises(InputError, match="--differ compares two checkpoints, got one"):
        chosen(read_items([f"{out}:{A}"]), differ=True)


def test_an_older_folder_says_what_it_lacks(tmp_path: Path) -> None:
    """Responses of older versions hold neither prompt nor gold answer."""
    store = Store(tmp_path)
    store.append_rows([row(A, "0", 1.0), row(A, "1", 1.0)], "rows")
    store.append_responses([response(A, "0", "18", prompt="", gold="", variant="")], "responses")
    first, second = read_items([str(tmp_path)]).items
    assert (first.prompt, first.gold) == (NO_PROMPT, NO_PROMPT)
    answer = second.answers[0]
    assert answer is not None
    assert (answer.output, answer.note) == (None, NO_RESPONSE)


def test_a_response_is_not_guessed(tmp_path: Path) -> None:
    """Two variants of a prompt are told apart; two responses to one variant are not, and none is shown."""
    store = Store(tmp_path)
    store.append_rows([row(A, "0", 1.0), row(A, "0", 0.0, variant="cot"), row(A, "1", 0.0)], "rows")
    given = [response(A, "0", "one"), response(A, "0", "two", variant="cot")]
    store.append_responses([*given, response(A, "1", "three"), response(A, "1", "four")], "responses")
    found = [view.answers[0] for view in read_items([str(tmp_path)]).items]
    assert [(answer.output, answer.note) for answer in found if answer] == [("one", ""), ("two", ""), (None, SEVERAL)]


def test_equal_weights_share_their_responses(tmp_path: Path) -> None:
    """A response is stored once, under the name that asked first; a run finds it by the weights of the checkpoints."""
    store = Store(tmp_path)
    for name, weights in (("sft-seed0", b"1"), ("sft-permuted-seed0", b"1"), ("sft-seed1", b"2")):
        folder = tmp_path / "checkpoints" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(weights)
    subjects = ["sft-seed0", "sft-permuted-seed0", "sft-seed1"]
    store.append_rows([row(name, "0", 1.0, suite="world") for name in subjects], "rows")
    store.append_responses([response("sft-seed0", "0", "first"), response("elsewhere", "0", "other")], "responses")
    (view,) = read_folder(tmp_path).items
    assert [answer.output if answer else "" for answer in view.answers] == ["first", "first", None]


def test_parts_of_an_item_belong_to_it(tmp_path: Path) -> None:
    """IFEval grades each instruction: the rows "7#0" and "7#1" belong to the item 7."""
    store = Store(tmp_path)
    ifeval = {"task": "ifeval", "filter": "strict", "metric": "prompt_level"}
    parts = [row(A, f"7#{part}", 1.0, **{**ifeval, "metric": "instruction_level"}) for part in (0, 1)]
    store.append_rows([row(A, "7", 0.5, **ifeval), *parts], "rows")
    store.append_responses([response(A, "7", "text", task="ifeval")], "responses")
    (view,) = read_items([str(tmp_path)]).items
    assert view.answers[0] is not None
    assert [mark.part for mark in view.answers[0].marks] == ["", "0", "1"]


def test_text_shows_everything_and_no_control_character(out: Path) -> None:
    text = "\n".join(as_text(read_items([f"{out}:{A}", f"{out}:{B}"])))
    for words in ("Question 2", f"A: {out}:{A} (wrong)", "no_answer", "by none; no answer found", "found '18' by cue"):
        assert words in text, words
    assert "\x1b" not in text
    assert "\\x1b[31m" in text


def test_a_page_escapes_what_models_write(out: Path) -> None:
    text = page(read_items([f"{out}:{A}"]), "Items of <A>")
    assert text.count("</script>") == 2
    assert "<b>" not in text
    assert "Items of &lt;A&gt;" in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["items"][0][5][0][0] == f"{A} says {HOSTILE}"


def test_files_are_json_lines_or_a_page(out: Path, tmp_path: Path) -> None:
    items = read_items([f"{out}:{A}"])
    write_items(items, tmp_path / "items.jsonl", "title")
    lines = [json.loads(line) for line in (tmp_path / "items.jsonl").read_text().splitlines()]
    assert lines == [as_json(view, items.sides) for view in items.items]
    assert lines[0]["sides"][0]["grades"][0]["found"] == "18"
    write_items(items, tmp_path / "items.html", "title")
    assert (tmp_path / "items.html").read_text().startswith("<!DOCTYPE html>")
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        write_items(items, tmp_path / "nowhere" / "items.html", "title")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["gldbench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return captured.out

    return run


def test_the_command(out: Path, run: Callable[..., str], tmp_path: Path) -> None:
    text = run("items", f"{out}:{A}", f"{out}:{B}", "--differ")
    assert text.count("-- prompt") == 2
    assert text.endswith("2 of 4 items\n")
    found = json.loads(run("items", f"{out}:{A}", "--wrong", "--json"))
    assert [item["item"] for item in found["items"]] == ["1", "2"]
    html = tmp_path / "page.html"
    assert run("items", f"{out}:{A}", "--html", str(html)) == f"4 of 4 items: {html}\n"
    assert html.is_file()


def test_comparing_runs_takes_the_test_set(tmp_path: Path) -> None:
    """The variants of a run are its sets; the comparison takes "test" unless another one is named."""
    rows = [
        row(name, f"{task}/{variant}/{item}", value, suite="world", variant=variant, **kind)
        for task in ("dyck_languages",)
        for kind in [{"task": f"world_{task}", "grader": "lm_eval"}]
        for variant, right in (("test", 1.0), ("harder", 0.0))
        for name, value in (("one", right), ("two", 1 - right))
        for item in range(3)
    ]
    Store(tmp_path).append_rows(rows, "rows")
    (found,) = compare(f"{tmp_path}:one", f"{tmp_path}:two").tasks
    assert (found.paired.first, found.paired.second) == (1.0, 0.0)
    (found,) = compare(f"{tmp_path}:one", f"{tmp_path}:two", variant="harder").tasks
    assert (found.paired.first, found.paired.second) == (0.0, 1.0)


def test_score_writes_its_items(run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLDBENCH_TASKS", "")
    data = tmp_path / "sums.jsonl"
    data.write_text('{"question": "2+3?", "answer": "5"}\n{"question": "2+4?", "answer": "6"}\n')
    run("tasks", "new", str(data), "--into", str(tmp_path / "own"))
    responses = tmp_path / "responses.jsonl"
    responses.write_text('{"item_id": "0", "output": "The answer is 5"}\n{"item_id": "1", "output": "No idea."}\n')
    items = tmp_path / "items.jsonl"
    arguments = ["score", "sums", str(responses), "--data", str(tmp_path), "--tasks-dir", str(tmp_path / "own")]
    assert f"items: {items}" in run(*arguments, "--items", str(items))
    first, second = (json.loads(line) for line in items.read_text().splitlines())
    assert (first["gold"], first["sides"][0]["output"], first["sides"][0]["right"]) == ("5", "The answer is 5", True)
    assert first["prompt"].startswith("2+3?")
    assert second["sides"][0]["grades"][0]["status"] == "no_answer"
    run(*arguments, "--items", str(tmp_path / "items.html"))
    assert "No idea." in (tmp_path / "items.html").read_text()
