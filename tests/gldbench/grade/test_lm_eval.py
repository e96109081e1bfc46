"""The grader "lm_eval" on stored outputs: lm-eval's filters, metrics and bugs, offline, where it has the task."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import lm_eval
import pytest
from lm_eval.tasks._yaml_loader import load_yaml

from gldbench.grade import GRADERS, Grade
from gldbench.grade.lm_eval.catalogue import UPSTREAM, upstream_of
from gldbench.schema import Item, Response, Task
from gldbench.tasks import load_items, load_task, task_names
from gldfusion.errors import InputError

LM_EVAL = GRADERS["lm_eval"]


def response(item_id: str, output: str) -> Response:
    return Response("case", "s", "toy", item_id, "hash", output, 5, 7, False, False, 0.1)


def item(item_id: str = "0", target: str = "", **options: object) -> Item:
    return Item("toy", "default", item_id, "prompt", target, item_id, **options)  # type: ignore[arg-type]


def graded(task: Task, items: list[Item], outputs: list[str]) -> list[Grade]:
    responses = [response(i.item_id, output) for i, output in zip(items, outputs, strict=True)]
    return LM_EVAL.grade(task, items, responses)


def values(name: str, asked: Item, *outputs: str) -> dict[tuple[str, str], list[float | None]]:
    """(filter, metric) -> the value of each output to the same item."""
    items = [item(str(row), asked.target, choices=asked.choices, golds=asked.golds, record=asked.record)
             for row in range(len(outputs))]  # fmt: skip
    found: dict[tuple[str, str], list[float | None]] = {}
    for grade in sorted(graded(load_task(name), items, list(outputs)), key=lambda g: int(g.item_id)):
        found.setdefault((grade.filter, grade.metric), []).append(grade.value)
    return found


def test_gsm8k_has_lm_evals_two_filters() -> None:
    found = values("gsm8k", item(target="18"), "\\boxed{18}", "The answer is 18.", "18 of 20", "$18.00", "eighteen")
    assert found == {
        ("strict-match", "exact_match"): [0.0, 1.0, 0.0, 0.0, 0.0],
        # "$18.00" is a known miss of lm-eval's: cents are not taken off
        ("flexible-extract", "exact_match"): [1.0, 1.0, 0.0, 0.0, 0.0],
    }
    assert LM_EVAL.headline(load_task("gsm8k")) == ("flexible-extract", "exact_match")


def test_bbh_keeps_lm_evals_case_and_quotes() -> None:
    outputs = ("So the answer is (B).", "the answer is (A). No: the answer is (B).", "the answer is '(B)'.", "(B)")
    found = values("bbh", item(target="(B)"), *outputs)
    assert found == {("get-answer", "exact_match"): [1.0, 0.0, 0.0, 0.0]}


def test_multiple_choice_wants_the_letter_first() -> None:
    record = {
        "question": {"stem": "?", "choices": [{"text": t, "label": n} for t, n in zip("wxyz", "1234", strict=True)]},
        "answerKey": "2",
    }
    arc = item(target="B", choices=("w", "x", "y", "z"), record=record)
    assert values("arc_c", arc, " B", "B.", "(B)", "The best answer is B") == {
        ("remove_whitespace", "exact_match"): [1.0, 1.0, 1.0, 0.0]
    }
    mmlu = item(target="B", choices=("w", "x", "y", "z"))
    assert values("mmlu", mmlu, " B\nbecause", "The answer is B") == {("get_response", "exact_match"): [1.0, 0.0]}


def test_math_has_minervas_two_metrics_and_math500_one() -> None:
    record = {"problem": "?", "solution": "So $x = \\boxed{\\frac{1}{2}}$."}
    outputs = (
        "Final Answer: The final answer is $\\frac{1}{2}$. I hope it is correct.",
        "so \\boxed{0.5}",
        "\\boxed{2}",
    )
    assert values("math", item(target="\\frac{1}{2}", record=record), *outputs) == {
        ("none", "exact_match"): [1.0, 0.0, 0.0],
        ("none", "math_verify"): [1.0, 1.0, 0.0],
    }
    assert values("math500", item(target="\\frac{1}{2}", record=record), "$1/2$", "$0.5$", "so \\boxed{0.5}") == {
        ("none", "exact_match"): [1.0, 1.0, 0.0]
    }


def test_drop_takes_the_whole_output_as_the_answer() -> None:
    found = values("drop", item(target="13", golds=("13", "14")), "13", " 14", "Answer: 13", "3")
    assert found == {("none", "em"): [1.0, 1.0, 0.0, 0.0], ("none", "f1"): [1.0, 1.0, 0.67, 0.0]}


def test_ifeval_counts_instructions_one_by_one() -> None:
    record = {
        "key": 1,
        "prompt": "?",
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
        "kwargs": [{}, {"relation": "at least", "num_words": 3}],
    }
    found = values("ifeval", item(record=record), "one two three", "one, two", "")
    assert found["none", "prompt_level_strict_acc"] == [1.0, 0.0, 0.0]
    assert found["none", "inst_level_strict_acc"] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    ours = GRADERS["ours"].grade(load_task("ifeval"), [item(record=record)], [response("0", "one two three")])
    assert {grade.value for grade in ours} == {1.0}


@pytest.mark.parametrize("name", ["arc_c_ll", "mmlu_ll", "hellaswag_ll"])
def test_log_likelihoods_are_replayed(name: str, benchmark_data: Path) -> None:
    task = load_task(name)
    items = load_items(task, benchmark_data)[:20]

    def ranked(asked: Item, best: int) -> str:
        return json.dumps({"loglikelihoods": [-1.0 if k == best else -900.0 for k in range(len(asked.choices))]})

    gold = ["ABCDE".index(asked.target) for asked in items]
    grades = graded(task, items, [ranked(asked, best) for asked, best in zip(items, gold, strict=True)])
    assert {grade.value for grade in grades} == {1.0}
    wrong = [ranked(asked, (best + 1) % len(asked.choices)) for asked, best in zip(items, gold, strict=True)]
    assert {grade.value for grade in graded(task, items, wrong)} == {0.0}
    for text in ("", "B", "{}", '{"loglikelihoods": [1]}', '{"loglikelihoods": null}'):
        unreadable = graded(task, items, [text] * len(items))
        assert {(grade.value, grade.status) for grade in unreadable} == {(0.0, "no_answer")}
        assert len(unreadable) == len(grades)


def test_what_lm_evals_code_cannot_grade_is_an_error_of_that_item(monkeypatch: pytest.MonkeyPatch) -> None:
    # the very function that the task file means: lm-eval may hold its module under two names
    file = Path(lm_eval.__file__).parent / "tasks" / UPSTREAM["minerva_math"].config
    names = load_yaml(file)["process_results"].__globals__

    def breaks(text: str) -> str:
        raise IndexError("upstream bug")

    record = {"problem": "?", "solution": "\\boxed{2}"}
    items = [item("0", "2", record=record), item("1", "2", record=record)]
    monkeypatch.setitem(names, "get_unnormalized_answer", lambda text: breaks(text) if "!" in text else "2")
    grades = graded(load_task("math"), items, ["\\boxed{2}", "! \\boxed{2}"])
    assert [(g.item_id, g.metric, g.value, g.status) for g in grades] == [
        ("0", "exact_match", 1.0, "ok"),
        ("0", "math_verify", 1.0, "ok"),
        ("1", "exact_match", None, "error"),
        ("1", "math_verify", None, "error"),
    ]
    assert grades[-1].reason == "lm-eval raised IndexError: upstream bug"


def test_a_grader_is_absent_where_lm_eval_has_no_such_task() -> None:
    applies = {name: LM_EVAL.applies(load_task(name)) for name in task_names()}
    without = {name for name, applied in applies.items() if not applied}
    assert without == {"theoremqa", "hellaswag", "humaneval", "humaneval_plus", "mbpp", "mbpp_plus"} & set(applies)


@pytest.mark.parametrize("name", [name for name in task_names() if load_task(name).harness])
def test_every_task_with_a_counterpart_names_one_that_is_there(name: str) -> None:
    assert upstream_of(load_task(name)) in UPSTREAM.values()


@pytest.mark.parametrize("name", [name for name in task_names() if load_task(name).harness])
def test_anybodys_outputs_are_graded_offline_and_alike(
    name: str, benchmark_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Under the names that `headline` promises, every item once; nothing printed, no random number drawn."""
    task = load_task(name)
    items = load_items(task, benchmark_data, limit=6)
    outputs = ["", "\u2028", "$" * 50, "\\boxed{", "x" * 20_000, "The answer is \\frac{1}{0}."][: len(items)]
    random.seed(3)
    expected = random.random()
    random.seed(3)
    grades = graded(task, items, outputs)
    assert random.random() == expected
    assert capfd.readouterr() == ("", "")
    headline = [grade for grade in grades if (grade.filter, grade.metric) == LM_EVAL.headline(task)]
    assert sorted(grade.item_id for grade in headline) == sorted(i.item_id for i in items)
    assert graded(task, items, outputs) == grades


def test_an_output_too_long_for_lm_evals_expressions_is_an_error() -> None:
    """`(?s).*#### ` is tried at every place of what the filter found: 200,000 digits took 25 s."""
    grades = graded(load_task("gsm8k"), [item(target="9")], ["9" * 2_000_000])
    assert {(grade.value, grade.status) for grade in grades} == {(0.0, "error")}
    assert "longer than" in grades[0].reason


def test_an_unknown_counterpart_is_refused() -> None:
    import dataclasses

    with pytest.raises(InputError, match='did you mean "gsm8k_cot"'):
        upstream_of(dataclasses.replace(load_task("gsm8k"), harness="gsm8k_co"))


def test_all_of_gsm8k_is_graded_in_time(benchmark_data: Path) -> None:
    task = load_task("gsm8k")
    items = load_items(task, benchmark_data)
    start = time.perf_counter()
    grades = graded(task, items, [f"step by step\n\\boxed{{{i.target}}}. The answer is {i.target}." for i in items])
    assert time.perf_counter() - start < 30
    assert len(grades) == 2 * 1319
    assert {grade.value for grade in grades} == {1.0}


def test_importing_the_graders_imports_no_harness() -> None:
    """They take seconds to import, and neither a list of graders nor the catalogue of tasks needs them."""
    slow = ("torch", "transformers", "lm_eval", "evalplus", "nltk", "datasets")
    code = f"import sys, gldbench.grade\nprint([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
