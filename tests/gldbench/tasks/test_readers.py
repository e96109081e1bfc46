"""Readers, on rows made here and on the real data files."""

from __future__ import annotations

import functools
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import datasets
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gldbench.schema import Item
from gldbench.tasks import CHANGED, asked_as, load_items, load_task, task_names
from gldbench.tasks.data import Records
from gldbench.tasks.prompts import fill
from gldbench.tasks.readers import READERS, last_boxed, mbpp, theoremqa
from gldfusion.errors import InputError

FILE_TASKS = [name for name in task_names() if load_task(name).dataset.kind == "file"]

WHOLE = {
    "arc_c": (1172, 1172, "Mercury_7175875", "C", "Question: An astronomer observes"),
    "arc_c_ll": (1172, 1172, "Mercury_7175875", "C", "Question: An astronomer observes"),
    "bbh": (6511, 27, "0", "False", "Follow the given examples and answer the question.\nEvaluate"),
    "drop": (
        9536,
        579,
        "0",
        "under the age of 18 and 25 to 44 and 45 to 64",
        "You will be asked to read a passage and",
    ),
    "gsm8k": (1319, 1319, "0", "18", "Janet\u2019s ducks lay 16 eggs per day."),
    "hellaswag": (10042, 10042, "0", "D", "A man is sitting on a roof. he\nQuestion: Which ending"),
    "hellaswag_ll": (10042, 10042, "0", "D", "Roof shingle removal: A man is sitting on a roof. He"),
    "humaneval": (164, 164, "HumanEval/0", "    for idx, elem", "from typing import List\n\n\ndef has_close_elements"),
    "humaneval_plus": (
        164,
        164,
        "HumanEval/0",
        "\n\n    sorted_num",
        "from typing import List\n\n\ndef has_close_elements",
    ),
    "ifeval": (541, 541, "1000", "", "Write a 300+ word summary of the wikipedia page"),
    "math": (5000, 5000, "0", "2", "How many vertical asymptotes does the graph of $y="),
    "math500": (500, 500, "test/precalculus/807.json", r"\left( 3, \frac{\pi}{2} \right)", "Convert the point $(0,3)$"),
    "mbpp": (
        500,
        500,
        "11",
        "def remove_Occ(s,ch)",
        "You are an expert Python programmer, and here is your task: Write a",
    ),
    "mbpp_plus": (378, 378, "Mbpp/2", "\ndef similar_elements", '"""\nWrite a function to find the shared elements'),
    "mmlu": (14042, 57, "0", "B", "There is a single choice question about abstract algebra. Answer the question by"),
    "mmlu_ll": (
        14042,
        57,
        "0",
        "B",
        "The following are multiple choice questions (with answers) about abstract algebra.",
    ),
    "theoremqa": (800, 755, "jianyu_xu/Lah_number_6.json", "11760", "You are a mathematician, you are supposed to"),
}
"""facts about a data file: task -> items, clusters, id of the first item, its gold answer, beginning of its prompt"""


@functools.cache
def items_of(name: str, data: Path) -> tuple[Item, ...]:
    """The whole task, read once for all tests of this file."""
    file = str(load_task(name).dataset.file)
    if not any((data / path).is_file() for path in (file, f"{file}.gz")):
        pytest.skip(f"benchmark data not found: no {file} in {data}")
    return tuple(load_items(load_task(name), data))


def test_every_reader_is_used() -> None:
    assert set(READERS) - {"options"} <= {load_task(name).reader for name in FILE_TASKS}  # options: for new tasks


@pytest.mark.parametrize("name", FILE_TASKS)
def test_a_data_file_gives_whole_items(name: str, benchmark_data: Path) -> None:
    task = load_task(name)
    items = items_of(name, benchmark_data)
    assert len(items) == len({item.item_id for item in items}) == task.dataset.count
    assert tuple(dict.fromkeys(item.subtask for item in items)) == (task.subtasks or ("",))
    assert all(item.golds[:1] == ((item.target,) if item.target else ()) and item.record for item in items)
    assert all(item.prompt and "{options}" not in item.prompt and "{_hint}" not in item.prompt for item in items)
    if items[0].choices:
        assert all(ascii_uppercase.index(item.target) < len(item.choices) for item in items)
    assert all(choice.startswith(" ") for item in items for choice in item.choices) == (
        task.kind == "loglikelihood" or not items[0].choices
    )


@pytest.mark.parametrize("name", WHOLE)
def test_known_files_have_known_items(name: str, benchmark_data: Path) -> None:
    count, clusters, first_id, gold, start = WHOLE[name]
    items = items_of(name, benchmark_data)
    assert (len(items), len({item.cluster for item in items})) == (count, clusters)
    assert items[0].item_id == first_id
    assert items[0].target.startswith(gold)
    assert items[0].prompt.startswith(start)


@pytest.mark.parametrize("name", FILE_TASKS)
def test_every_variant_names_only_fields_that_are_there(
    name: str, benchmark_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(name)
    rows = Records([dict(item.record) for item in items_of(name, benchmark_data)], changed=False)
    monkeypatch.setattr("gldbench.tasks.load.read_records", lambda *_: rows)  # the same file for every variant
    for variant in task.variants:
        asked = asked_as(task, variant)
        item = load_items(task, benchmark_data, 1, variant)[0]
        fields = set(READERS[task.reader](0, dict(item.record)).fields if task.reader else item.record)
        fields |= {asked.exemplars.fills} if asked.exemplars else set()
        assert item.variant == variant
        assert set(re.findall(r"\{(\w+)\}", asked.prompt)) <= fields
        assert item.prompt not in (asked.prompt, "")
        assert asked.generation == (task.variants[variant].generation or task.generation)


def test_prompts_are_those_of_the_paper(benchmark_data: Path) -> None:
    path = benchmark_data.parent / "paper" / "prompts.yaml"
    if not path.is_file():
        pytest.skip("benchmark data not found: no prompts.yaml of the paper beside it")
    paper = yaml.safe_load(path.read_text())
    for name in ("ifeval", "hellaswag", "bbh", "mmlu", "gsm8k", "math"):
        assert asked_as(load_task(name)).prompt == paper[name]
    for item in items_of("arc_c", benchmark_data):
        if len(item.choices) == 4:
            texts = {f"text{letter}": text for letter, text in zip("ABCD", item.choices, strict=True)}
            assert item.prompt == fill(paper["arc_c"], {"question": item.record["question"]["stem"], **texts})
    without_examples = paper["drop"].replace(" Some examples of passages and Q&A are provided below.", "")
    assert asked_as(load_task("drop")).prompt == without_examples.replace("{drop_examples}\n", "")
    assert {name for name, prompt in paper.items() if prompt.startswith("original")} == {
        "theoremqa",
        "humaneval",
        "mbpp",
    }


def test_options_other_than_four_are_all_asked(benchmark_data: Path) -> None:
    items = items_of("arc_c", benchmark_data)
    assert Counter(len(item.choices) for item in items) == {4: 1165, 3: 4, 5: 3}
    five = next(item for item in items if item.item_id == "TIMSS_2007_8_pg53")
    assert "\nD. a theory\nE. a hypothesis\nDirectly" in five.prompt
    numbered = next(item for item in items if item.item_id == "NYSEDREGENTS_2012_8_42")
    assert (numbered.record["answerKey"], numbered.target) == ("2", "B")
    assert "\nC. remain the same\nDirectly" in numbered.prompt


def test_a_limit_takes_turns_over_subjects_and_else_the_file(benchmark_data: Path) -> None:
    mmlu_task = load_task("mmlu")
    items = load_items(mmlu_task, benchmark_data, 20)
    assert [item.subtask for item in items] == list(mmlu_task.subtasks[:20])
    assert [i.item_id for i in load_items(load_task("drop"), benchmark_data, 3)] == ["0", "1", "2"]
    law = load_items(load_task("mmlu/international_law"), benchmark_data)
    assert (len(law), {item.task for item in law}) == (121, {"mmlu/international_law"})
    assert int(law[0].item_id) > 0


def test_mmlu_is_read_in_less_than_a_second(benchmark_data: Path) -> None:
    seconds = []
    for _ in range(2):
        start = time.process_time()
        load_items(load_task("mmlu"), benchmark_data)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1


def test_examples_stand_before_the_question(benchmark_data: Path) -> None:
    def first(name: str, variant: str) -> str:
        return load_items(load_task(name), benchmark_data, 1, variant)[0].prompt

    shots = {
        ("mmlu/virology", "5shot"): ("\nAnswer: ", 5),
        ("mbpp", "3shot"): ("\n[DONE]", 3),
        ("theoremqa", "5shot"): ("The answer is ", 5),
        ("math", "minerva_4shot"): ("I hope it is correct.", 4),
        ("gsm8k", "cot_8shot"): ("The answer is ", 8),
        ("arc_c", "olmes_5shot"): ("\n A. ", 6),
        ("hellaswag", "olmes_5shot"): ("\nChoose the best continuation:", 6),
    }
    for (name, variant), (mark, times) in shots.items():
        assert first(name, variant).count(mark) == times, name
    assert "about virology." in first("mmlu/virology", "5shot")
    assert "def heap_queue_largest" in first("mbpp", "3shot")
    assert "min_cost" not in first("mbpp", "3shot")


def test_gold_answers_of_math_are_those_that_math500_names(benchmark_data: Path) -> None:
    gold = {item.record["problem"]: item.target for item in items_of("math", benchmark_data)}
    named = items_of("math500", benchmark_data)
    assert [i.item_id for i in named if gold[i.record["problem"]] != i.target] == []


def test_chance_is_what_the_data_say(benchmark_data: Path) -> None:
    def most_frequent(items: Sequence[Item]) -> float:
        """The best constant answer within each subtask, or each type of answer."""
        groups: dict[str, Counter[str]] = {}
        for item in items:
            groups.setdefault(item.subtask or str(item.record.get("Answer_type")), Counter())[item.target] += 1
        return sum(counts.most_common(1)[0][1] for counts in groups.values()) / len(items)

    for name in ("arc_c", "arc_c_ll", "bbh", "hellaswag", "hellaswag_ll", "math", "math500", "mmlu", "theoremqa"):
        assert load_task(name).chance == pytest.approx(most_frequent(items_of(name, benchmark_data)), abs=1e-4)


def table3(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """(suite, row) -> model -> score in [0, 1]."""
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    return {
        (row[1], row[0]): {model: float(value) / 100 for model, value in zip(header[2:], row[2:], strict=True)}
        for row in rows
    }


BBH_ROWS = {
    "Ruin Names": "ruin_names",
    "Tracking 7 Objects": "tracking_shuffled_objects_seven_objects",
    "Tracking 5 Objects": "tracking_shuffled_objects_five_objects",
    "Logical Deduction 3": "logical_deduction_three_objects",
    "Logical Deduction 5": "logical_deduction_five_objects",
    "Logical Deduction 7": "logical_deduction_seven_objects",
    "Colored Objects": "reasoning_about_colored_objects",
    "Multistep Arithmetic": "multistep_arithmetic_two",
    "Dyck Languages": "dyck_languages",
    "Causal Judgement": "causal_judgement",
}


def test_published_scores_are_those_of_table_3(benchmark_data: Path) -> None:
    path = benchmark_data.parent / "paper" / "table3.csv"
    if not path.is_file():
        pytest.skip("benchmark data not found: no table3.csv of the paper beside it")
    rows = table3(path)
    average = rows.pop(("all", "Avg. 18 Tasks"))
    published = {name: load_task(name).published for name in sorted({suite for suite, _ in rows})}
    named = {(suite, row): BBH_ROWS[row] if suite == "bbh" else row.lower().replace(" ", "_") for suite, row in rows}
    for key, subtask in named.items():
        assert published[key[0]][subtask] == pytest.approx(rows[key])
    assert sum(len(scores) for scores in published.values()) == len(rows) == 18
    for model, mean in average.items():
        scores = [scores[model] for name in ("bbh", "mmlu") for scores in published[name].values()]
        assert sum(scores) / 18 == pytest.approx(mean, abs=5.1e-5)  # 77.425 is printed as 77.43


def arc_columns(row: dict[str, Any]) -> dict[str, Any]:
    options = row["question"]["choices"]
    columns = {name: [option[name] for option in options] for name in ("text", "label")}
    return {**row, "question": row["question"]["stem"], "choices": columns}


def mmlu_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "choices": [row[letter] for letter in "ABCD"], "answer": "ABCD".index(row["answer"])}


def test_hubs_with_other_columns_give_the_same_items(benchmark_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"arc_c": arc_columns, "mmlu": mmlu_columns, "mbpp": lambda row: dict(sorted(row.items()))}
    items = {name: items_of(name, benchmark_data) for name in columns}
    by_path = {}
    for name, own in items.items():
        hub = load_task(name).dataset.hub
        assert hub is not None
        by_path[hub.path] = [columns[name](dict(item.record)) for item in own]

    def load_dataset(path: str, name: str, **_: Any) -> list[dict[str, Any]]:
        return [row for row in by_path[path] if row.get("subject", name) == name]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for name, own in items.items():
        assert tuple(load_items(load_task(name), "hub")) == own


# --- rows made here: no data files needed


@given(
    st.recursive(st.text("ab1 ", max_size=4), lambda t: st.lists(t, max_size=3).map(lambda p: "{" + "".join(p) + "}"))
)
def test_the_last_box_is_read_whatever_braces_it_holds(inside: str) -> None:
    assert last_boxed(rf"\boxed{{0}}, so $\boxed{{{inside}}}$ and \boxed{{ never closed") == inside.strip()
    assert last_boxed(inside) is None


def test_escaped_braces_do_not_count_and_the_space_before_a_box_does_not_matter() -> None:
    assert last_boxed(r"\boxed {\{1, 2\}} and 5") == r"\{1, 2\}"
    assert last_boxed(r"\boxed{\left\{ x \right.}") == r"\left\{ x \right."


def test_math_has_an_id_without_idx() -> None:
    row = {"problem": "?", "solution": r"\boxed{1}"}
    assert READERS["math"](7, row).item_id == "7"
    assert READERS["math"](7, {**row, "idx": 0}).item_id == "0"
    with pytest.raises(InputError, match=r"no .*boxed"):
        READERS["math"](7, {**row, "solution": "1"})


def test_drop_splits_passage_question_and_golds() -> None:
    context = "Passage: One.\nQuestion: is this one?\nAnswer: no.\nQuestion: How many?\nAnswer:"
    reading = READERS["drop"](3, {"context": context, "completion": " 2", "ref_text": "2|two|  2| a and b"})
    assert reading.golds == ("2", "two", "a and b")
    assert (reading.item_id, reading.target) == ("3", "2")
    assert reading.fields["passage"] == "One.\nQuestion: is this one?\nAnswer: no."
    assert reading.fields["question"] == "How many?"
    other = READERS["drop"](4, {"context": "Passage: One.\nQuestion: ?\nAnswer:", "ref_text": "1"})
    assert other.cluster != reading.cluster
    with pytest.raises(InputError, match="expected Passage:"):
        READERS["drop"](4, {"context": "One. How many?", "ref_text": "1"})


def test_mbpp_names_the_function_that_its_tests_call() -> None:
    row = {"text": "t", "code": "def helper(x):\n  return x\ndef f (x):\n  return helper(x)", "task_id": 1}
    assert mbpp(0, {**row, "test_list": ["assert set(f(1)) == 1"]}).entry == "f"
    with pytest.raises(InputError, match="the first test calls none of the functions helper, f"):
        mbpp(0, {**row, "test_list": ["assert g(1)"]})


def test_theoremqa_clusters_questions_on_one_setting() -> None:
    row = {"id": "a", "Answer": [1, 2], "Answer_type": "list of integer"}
    first, second = (theoremqa(0, {**row, "Question": "x" * 80 + end}) for end in ("a", "b"))
    assert first.cluster == second.cluster != theoremqa(0, {**row, "Question": "x" * 79 + "y"}).cluster
    assert first.target == "[1, 2]"


def test_changed_rows_that_cannot_be_read_are_named(benchmark_data: Path, tmp_path: Path) -> None:
    (tmp_path / "ifeval").mkdir()
    rows = (benchmark_data / "ifeval" / "test.jsonl").read_bytes().split(b"\n")
    target = tmp_path / "ifeval" / "test.jsonl"
    cases = {
        b'{"key": 1}': "row 1 of ifeval/test.jsonl cannot be read: KeyError 'prompt'",
        b"[]": "line 2: expected an object",
        b"{": "line 2 is not JSON",
        rows[0]: "several rows with the id 1000",
    }
    for changed, message in cases.items():
        target.write_bytes(b"\n".join([rows[0], changed]))
        with pytest.raises(InputError, match="is not the data that the task was defined on"):
            load_items(load_task("ifeval"), tmp_path)
        with pytest.raises(InputError, match=re.escape(message)):
            load_items(load_task("ifeval"), tmp_path, allow_changed=True)
    target.write_bytes(b"\n".join(rows[:2]))
    items = load_items(load_task("ifeval"), tmp_path, allow_changed=True)
    assert [(item.item_id, item.variant) for item in items] == [(key, "default" + CHANGED) for key in ("1000", "1001")]
