"""Every folder in tasks/ can be read and graded, prompts are filled literally, changed data is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gldbench.grade import GRADERS
from gldbench.grade.judges import JUDGES
from gldbench.schema import Item
from gldbench.tasks import (
    PAPER11,
    asked_as,
    expand,
    load_items,
    load_task,
    take,
    task_names,
    tasks_root,
)
from gldbench.tasks.prompts import fill
from gldbench.tasks.read_yaml import FINDERS
from gldfusion.errors import InputError

Fill = Callable[[str, Mapping[str, Any]], str]


@pytest.mark.parametrize("name", task_names())
def test_every_task_folder_is_whole(name: str) -> None:
    task = load_task(name)
    assert task.title
    assert task.citation
    assert task.dataset.licence
    assert task.dataset.family if task.dataset.kind == "procedural" else task.dataset.source
    assert 0 <= task.chance < 1
    assert bool(task.subtasks) == bool(task.dataset.subtask)
    assert len(set(task.subtasks)) == len(task.subtasks)
    assert set(task.published) <= set(task.subtasks)
    assert all(0 <= score <= 1 for scores in task.published.values() for score in scores.values())
    for variant in ("default", *task.variants):
        asked = asked_as(task, variant)
        assert re.search(r"\{\w+\}", asked.prompt)
        assert asked.generation.max_tokens > 0


@pytest.mark.parametrize("name", task_names())
def test_every_task_can_be_graded(name: str) -> None:
    task = load_task(name)
    assert task.scorer in JUDGES
    assert task.patterns or JUDGES[task.scorer].form is None  # a judge that compares what patterns find needs some
    assert (task.kind == "loglikelihood") == (task.scorer == "loglikelihood")
    assert task.headline.grader in GRADERS
    assert GRADERS[task.headline.grader].applies(task)
    assert task.headline.filter in task.patterns or not task.patterns or (task.scorer in FINDERS and task.harness)


def test_the_benchmarks_of_the_paper_are_there() -> None:
    assert len(set(PAPER11)) == 11
    assert [load_task(name).name for name in PAPER11] == list(PAPER11)


def tricky_fields_come_out_as_they_are(substitute: Fill) -> None:
    template = "{question}\nIn \\boxed{}, {not a field}, ${x}$ and $ANSWER: {answer}"
    fields = {"question": "Is {answer} \\frac{1}{2} or %s, {0}?", "answer": "\\1 $ANSWER {question}"}
    assert substitute(template, fields) == (
        "Is {answer} \\frac{1}{2} or %s, {0}?\nIn \\boxed{}, {not a field}, ${x}$ and $ANSWER: \\1 $ANSWER {question}"
    )


def test_fields_are_filled_literally_in_one_pass() -> None:
    tricky_fields_come_out_as_they_are(fill)
    assert fill("{a}{ab}", {"a": "1", "ab": "2"}) == "12"


def one_after_the_other(template: str, fields: Mapping[str, Any]) -> str:
    for name, value in fields.items():
        template = template.replace("{" + name + "}", str(value))
    return template


@pytest.mark.parametrize("planted", [lambda t, f: t.format(**f), one_after_the_other])
def test_the_literal_check_catches_planted_bugs(planted: Fill) -> None:
    with pytest.raises((AssertionError, IndexError, KeyError, ValueError)):
        tricky_fields_come_out_as_they_are(planted)


def test_a_prompt_without_any_field_is_refused() -> None:
    with pytest.raises(InputError, match="names none of the fields question"):
        fill("{quesiton}", {"question": "?"})


def clustered(clusters: list[str]) -> list[Item]:
    return [Item("t", "default", str(row), "", "", str(row), subtask=cluster) for row, cluster in enumerate(clusters)]


@given(st.lists(st.sampled_from("abcde"), max_size=30), st.integers(1, 35))
def test_a_limit_takes_turns_in_file_order(clusters: list[str], limit: int) -> None:
    items = clustered(clusters)
    taken = take(items, limit)
    assert len(taken) == min(limit, len(items))
    assert [int(item.item_id) for item in taken] == sorted(int(item.item_id) for item in taken)
    counts, sizes = Counter(item.subtask for item in taken), Counter(clusters)
    for cluster in sizes:
        assert [i for i in taken if i.subtask == cluster] == [i for i in items if i.subtask == cluster][
            : counts[cluster]
        ]
        assert counts[cluster] == sizes[cluster] or counts[cluster] >= max(counts.values()) - 1


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        take(clustered(["a"]), 0)


ROWS = [
    {"topic": "sums", "q": "1+1\u2028?", "a": "So #### 1,002"},
    {"topic": "sums", "q": "2+2?", "a": "#### 4"},
    {"topic": "words", "q": "one?", "a": "#### -5"},
]
HINTS = [
    {"topic": "sums", "text": "CANARY\n-----\nsum examples"},
    {"topic": "words", "text": "CANARY\n-----\nword examples"},
]


def as_lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def toy_yaml() -> dict[str, Any]:
    return {
        "name": "toy",
        "version": 1,
        "title": "toy",
        "dataset": {
            "kind": "file",
            "file": "toy/test.jsonl",
            "source": "https://example.org/toy",
            "revision": "abc",
            "sha256": checksum(as_lines(ROWS)),
            "count": 3,
            "licence": "MIT",
            "target": "a",
            "target_pattern": r"#### (\S+)",
            "target_without": ",",
            "subtask": "topic",
        },
        "prompt": "{_hint}\nQ: {q} \\boxed{}",
        "variants": {"bare": {"prompt": "{q}"}},
        "exemplars": {
            "file": "toy/hints.jsonl",
            "sha256": checksum(as_lines(HINTS)),
            "count": 2,
            "text": "text",
            "after": "\n-----\n",
        },
        "subtasks": ["sums", "words"],
        "scorer": "number",
        "answer_pattern": {"answer": "(.+)"},
        "generation": {"max_tokens": 8, "stop": []},
        "headline": {"grader": "lm_eval", "filter": "answer", "metric": "exact_match"},
        "chance": 0.0,
        "citation": "nobody",
    }


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """tmp_path/tasks/toy/task.yaml and tmp_path/data/toy/*.jsonl."""
    write_yaml(tmp_path, toy_yaml())
    (tmp_path / "data" / "toy").mkdir(parents=True)
    (tmp_path / "data" / "toy" / "test.jsonl").write_bytes(as_lines(ROWS))
    (tmp_path / "data" / "toy" / "hints.jsonl").write_bytes(as_lines(HINTS))
    return tmp_path


def write_yaml(folder: Path, content: dict[str, Any]) -> None:
    path = folder / "tasks" / "toy" / "task.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def items_of(folder: Path, name: str = "toy", data: Any = None, **options: Any) -> list[Item]:
    return load_items(load_task(name, folder / "tasks"), data or folder / "data", **options)


def test_items_carry_row_prompt_gold_and_cluster(toy: Path) -> None:
    items = items_of(toy)
    assert [item.item_id for item in items] == ["0", "1", "2"]
    assert [item.target for item in items] == ["1002", "4", "-5"]
    assert [item.cluster for item in items] == ["sums", "sums", "words"]
    assert items[0].prompt == "sum examples\nQ: 1+1\u2028? \\boxed{}"
    assert items[2].prompt == "word examples\nQ: one? \\boxed{}"
    assert {(item.task, item.variant) for item in items} == {("toy", "default")}


def test_a_subtask_keeps_the_rows_of_the_file(toy: Path) -> None:
    (item,) = items_of(toy, "toy/words")
    assert (item.task, item.item_id, item.target) == ("toy/words", "2", "-5")


def test_a_variant_has_its_own_prompt_and_needs_no_examples(toy: Path) -> None:
    (toy / "data" / "toy" / "hints.jsonl").unlink()
    items = items_of(toy, variant="bare")
    assert (items[1].prompt, items[1].variant) == ("2+2?", "bare")
    with pytest.raises(InputError, match=r'no variant "bar".*did you mean "bare"'):
        items_of(toy, variant="bar")


def test_packed_files_are_read_and_checked_unpacked(toy: Path) -> None:
    expected = items_of(toy)
    path = toy / "data" / "toy" / "test.jsonl"
    path.unlink()
    path.with_name("test.jsonl.gz").write_bytes(gzip.compress(as_lines(ROWS)))
    assert items_of(toy) == expected
    path.with_name("test.jsonl.gz").write_bytes(gzip.compress(as_lines(ROWS))[:-9])
    with pytest.raises(InputError, match="not a whole gzip file"):
        items_of(toy)


@pytest.mark.parametrize("file", ["test.jsonl", "hints.jsonl"])
def test_changed_data_is_refused_by_name(toy: Path, file: str) -> None:
    path = toy / "data" / "toy" / file
    rows = path.read_bytes()
    for changed in (rows.replace(b"word", b"wort"), rows[: rows.rindex(b"{")], rows + rows[rows.rindex(b"{") :]):
        path.write_bytes(changed)
        assert changed != rows
        with pytest.raises(InputError, match=f"{file} is not the data that the task was defined on") as caught:
            items_of(toy)
        assert "expected" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 3
        assert "--allow-changed-data" in str(caught.value)


def test_changed_data_can_be_asked_for_and_is_named_in_the_items(toy: Path) -> None:
    whole = items_of(toy, allow_changed=True)
    assert {item.variant for item in whole} == {"default"}
    for file in ("test.jsonl", "hints.jsonl"):
        path = toy / "data" / "toy" / file
        rows = path.read_bytes()
        path.write_bytes(rows.replace(b" examples", b" EXAMPLES").replace(b"2+2", b"3+3"))
        items = items_of(toy, allow_changed=True)
        assert {item.variant for item in items} == {"default+changed-data"}
        assert [item.prompt for item in items] != [item.prompt for item in whole]
        path.write_bytes(rows)
    path = toy / "data" / "toy" / "hints.jsonl"
    path.write_bytes(as_lines(HINTS[:1]))
    with pytest.raises(InputError, match="no worked examples for words"):
        items_of(toy, allow_changed=True)
    assert {item.variant for item in items_of(toy, variant="bare")} == {"bare"}  # asks no examples


def test_examples_are_made_from_rows_and_variants_have_their_own(toy: Path) -> None:
    content = toy_yaml()
    shots = {
        "prompt": "{shots}|{q}",
        "generation": {"max_tokens": 3, "stop": ["Q"]},
        "exemplars": content["exemplars"]
        | {"each": "<{text}>", "where": {"topic": ["words"]}, "fills": "shots", "between": ";"},
    }
    content["variants"]["shots"] = shots
    content["dataset"]["subtask"] = None
    write_yaml(toy, content)
    assert [item.prompt.partition("|")[2] for item in items_of(toy, variant="shots")] == [row["q"] for row in ROWS]
    assert items_of(toy, variant="shots")[0].prompt.startswith("<CANARY\n-----\nword examples>|")
    task = load_task("toy", toy / "tasks")
    asked = asked_as(task, "shots")
    assert (asked.prompt_name, asked.generation.max_tokens, asked.generation.stop) == ("shots", 3, ("Q",))
    assert asked_as(task, "bare").generation == task.generation
    assert asked_as(task) is task


def test_a_prompt_that_is_less_than_the_papers_says_so_in_the_items(toy: Path) -> None:
    write_yaml(toy, toy_yaml() | {"prompt_name": "zeroshot"})
    assert {item.variant for name in ("default", "zeroshot") for item in items_of(toy, variant=name)} == {"zeroshot"}


def test_names_of_tasks_are_expanded() -> None:
    assert expand("paper11") == list(PAPER11)
    assert expand("math500, paper11,,gsm8k") == ["math500", *PAPER11]
    assert expand(["bbh/navigate,gsm8k", "gsm8k"]) == ["bbh/navigate", "gsm8k"]
    with pytest.raises(InputError, match="no task is named"):
        expand(" ,")


def test_missing_data_says_where_it_was_expected(toy: Path) -> None:
    shutil.rmtree(toy / "data" / "toy")
    with pytest.raises(InputError, match=r"toy/test.jsonl.*\n.*--data"):
        items_of(toy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scorrer": "x"}, r'unknown key "scorrer" \(did you mean "scorer"'),
        ({"dataset": toy_yaml()["dataset"] | {"sha265": "x"}}, r'unknown key "dataset.sha265" \(did you mean "sha256"'),
        ({"version": "one"}, "version: .* got 'one'"),
        ({"answer_pattern": {"answer": "("}}, "not a regular expression"),
        ({"answer_pattern": {"answer": "(a)(b)"}}, "expected one group, .* got 2"),
        ({"answer_pattern": {"last": "(a)"}, "scorer": "exact_match"}, 'headline.filter: expected .* got "answer"'),
        ({"answer_pattern": {"last": "(a)"}, "scorer": "number"}, 'expected a filter "answer", .* got last'),
        ({"answer_pattern": {"last": "(a)"}, "scorer": "short_answer"}, 'expected a filter "answer", .* got last'),
        ({"dataset": {"kind": "file", "licence": "MIT"}}, "needs the keys file, sha256 and count"),
        ({"reader": "mnlu"}, r'no reader is called "mnlu" \(did you mean "mmlu"'),
        ({"variants": {"bare": {"promt": "{q}"}}}, r'unknown key "variants.bare.promt" \(did you mean "prompt"'),
        ({"dataset": toy_yaml()["dataset"] | {"hub": {"split": "test"}}}, "either url or path"),
        ({"dataset": toy_yaml()["dataset"] | {"hub": {"path": "x", "rows": "y"}}}, 'hub.rows: expected .* got "y"'),
        ({"name": "other"}, 'expected the name of its folder, name: toy, got "other"'),
    ],
)
def test_a_wrong_yaml_is_an_input_error_that_names_the_key(toy: Path, change: dict[str, Any], message: str) -> None:
    write_yaml(toy, toy_yaml() | change)
    with pytest.raises(InputError, match=message):
        load_task("toy", toy / "tasks")


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match='did you mean "gsm8k"'):
        load_task("gsm8")
    with pytest.raises(InputError, match='did you mean "navigate"'):
        load_task("bbh/navigat")
    with pytest.raises(InputError, match="gsm8k has no subtasks"):
        load_task("gsm8k/algebra")
    with pytest.raises(InputError, match="not read from files"):
        load_items(load_task("world_dyck_languages"), Path())


def with_hub(folder: Path) -> None:
    content = toy_yaml()
    content["dataset"]["hub"] = {
        "path": "json",
        "data_files": str(folder / "hub" / "{subtask}.json"),
        "options": {"field": "examples"},
        "split": "train",
        "fields": {"q": "question", "a": "answer"},
    }
    content["exemplars"]["hub"] = {
        "path": "text",
        "data_files": str(folder / "hub" / "{subtask}.txt"),
        "options": {"sample_by": "document"},
        "split": "train",
        "fields": {"text": "text"},
    }
    write_yaml(folder, content)
    (folder / "hub").mkdir()
    for hint in HINTS:
        rows = [{"question": row["q"], "answer": row["a"]} for row in ROWS if row["topic"] == hint["topic"]]
        (folder / "hub" / f"{hint['topic']}.json").write_text(json.dumps({"canary": "x", "examples": rows}))
        (folder / "hub" / f"{hint['topic']}.txt").write_text(hint["text"])


def test_a_hub_gives_the_same_items_as_the_file(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", toy / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", False)
    datasets.disable_progress_bars()
    with_hub(toy)
    assert items_of(toy, data="hub") == items_of(toy)
    assert items_of(toy, "toy/words", data="hub") == items_of(toy, "toy/words")


@pytest.mark.parametrize("packed", [True, False])
def test_a_hub_may_hold_the_very_file(toy: Path, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", False)
    expected = items_of(toy, variant="bare")
    content = toy_yaml()
    path = toy / ("rows.jsonl.gz" if packed else "rows.json")
    content["dataset"]["hub"] = {"url": str(path)}
    write_yaml(toy, content)
    path.write_bytes(gzip.compress(as_lines(ROWS)) if packed else json.dumps(ROWS, indent=2).encode())
    assert items_of(toy, data="hub", variant="bare") == expected
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be reached for .*rows.json"):
        items_of(toy, data="hub", variant="bare")


def test_a_hub_with_other_rows_is_refused(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_hub(toy)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: [{"question": "?", "answer": "#### 1"}])
    with pytest.raises(InputError, match=r"the hub's toy/test.jsonl is not the data"):
        items_of(toy, data="hub")


def test_a_hub_out_of_reach_is_an_input_error(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no hub holds"):
        items_of(toy, data="hub")

    def offline(*_: Any, **__: Any) -> Any:
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(InputError, match=r"cannot be reached for openai/gsm8k \(offline\)"):
        load_items(load_task("gsm8k"), "hub")


def test_gsm8k_is_whole_and_asked_as_the_paper_asks(benchmark_data: Path) -> None:
    items = load_items(load_task("gsm8k"), benchmark_data)
    assert len(items) == 1319
    assert [item.item_id for item in items] == [str(row) for row in range(1319)]
    assert all(re.fullmatch(r"-?\d+", item.target) for item in items)
    assert items[0].target == "18"
    assert items[0].prompt.startswith("Janet\u2019s ducks lay 16 eggs per day.")
    assert items[0].prompt.endswith("market?\nPlease reason step by step, and put your final answer within \\boxed{}.")


def test_bbh_is_whole_and_asked_as_the_paper_asks(benchmark_data: Path) -> None:
    task = load_task("bbh")
    items = load_items(task, benchmark_data)
    assert len(items) == 6511
    assert tuple(dict.fromkeys(item.cluster for item in items)) == task.subtasks
    assert len(task.subtasks) == 27
    for item in items:
        assert "canary" not in item.prompt
        assert "-----" not in item.prompt
        assert item.prompt.startswith("Follow the given examples and answer the question.\n")
        assert item.prompt.endswith("\nA: Let's think step by step.")
        assert item.prompt.count("the answer is") >= 3
    assert items[0].prompt.endswith(
        "So the answer is True.\nQ: not ( True ) and ( True ) is\nA: Let's think step by step."
    )
    guess = {name: Counter(i.target for i in items if i.cluster == name).most_common(1)[0][1] for name in task.subtasks}
    assert task.chance == pytest.approx(sum(guess.values()) / 6511, abs=1e-4)


def test_a_limit_spreads_over_the_subtasks_of_bbh(benchmark_data: Path) -> None:
    items = load_items(load_task("bbh"), benchmark_data, limit=50)
    assert Counter(Counter(item.cluster for item in items).values()) == {2: 23, 1: 4}
    assert [item.item_id for item in load_items(load_task("bbh/navigate"), benchmark_data, limit=2)] == ["3187", "3188"]


def test_a_changed_benchmark_file_is_refused(benchmark_data: Path, tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    content = (benchmark_data / "gsm8k" / "test.jsonl").read_bytes()
    (tmp_path / "gsm8k" / "test.jsonl").write_bytes(content.replace(b"#### 18", b"#### 19", 1))
    with pytest.raises(InputError, match=r"task gsm8k: .*test.jsonl is not the data"):
        load_items(load_task("gsm8k"), tmp_path)


def test_tasks_are_found_in_the_source_tree() -> None:
    assert tasks_root().name in ("tasks", "_tasks")
    assert (tasks_root() / "gsm8k" / "task.yaml").is_file()
