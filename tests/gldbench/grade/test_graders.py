"""Graders: the gold answer and its paraphrases score 1, near misses score 0, and both graders agree."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from gldbench.grade import GRADERS, answers
from gldbench.grade.judges import JUDGES
from gldbench.grade.rows import RowLabels, grade
from gldbench.schema import Item, Response, Row, Task
from gldbench.tasks import load_items, load_task, task_names
from gldbench.worlds.families import FAMILIES
from gldfusion.errors import InputError

LABELS = RowLabels(run_id="run", env_id="env", suite="world", subject="subject", method="method", world_seed=3, seed=4)
NAMES = ["lm_eval", "ours"]


def by_our_patterns(name: str) -> Task:
    """The task without its counterpart in lm-eval: both graders then use our expressions."""
    return dataclasses.replace(load_task(name), harness="")


def item(item_id: str, target: str, **options: object) -> Item:
    return Item("toy", "default", item_id, "prompt", target, item_id, **options)  # type: ignore[arg-type]


def response(item_id: str, output: str, truncated: bool = False) -> Response:
    return Response("case", "s", "toy", item_id, "hash", output, 5, 7, False, truncated, 0.1)


def scores(task: Task, cases: Sequence[tuple[str, str]], grader: str, filter_name: str = "") -> list[float | None]:
    """Values of (target, output) pairs under one filter."""
    items = [item(str(row), target) for row, (target, _) in enumerate(cases)]
    responses = [response(str(row), output) for row, (_, output) in enumerate(cases)]
    rows = grade(task, items, responses, LABELS, (grader,))
    return [row.value for row in rows if row.filter == (filter_name or task.headline.filter)]


def wrong(task: Task, cases: Sequence[tuple[str, str]], expected: float, grader: str, filter_name: str = "") -> list:
    values = scores(task, cases, grader, filter_name)
    assert len(values) == len(cases)
    return [case for case, value in zip(cases, values, strict=True) if value != expected]


GSM8K_RIGHT = [
    ("18", "3 + 15 = 18, so \\boxed{18}"),
    ("18", "\\boxed{18}."),
    ("18", "$\\boxed{18}$"),
    ("18", "\\boxed{\\$18}"),
    ("18", "\\boxed{\\$18.00}"),
    ("18", "\\boxed{$18.00}"),
    ("18", "\\boxed{ 18 }"),
    ("18", "\\boxed {18}"),
    ("18", "\\boxed{18.0}"),
    ("18", "\\boxed{18 eggs}"),
    ("18", "\\boxed{18\\text{ dollars}}"),
    ("18", "\\boxed{18 \\text{ dollars per day}}"),
    ("18", "\\boxed{\\text{18}}"),
    ("18", "\\boxed{\\textbf{18}}"),
    ("18", "\\boxed{x = 18}"),
    ("18", "\\boxed{18\\%}"),
    ("1000", "\\boxed{1,000}"),
    ("1000", "\\boxed{1{,}000}"),
    ("1000", "\\boxed{1\\,000}"),
    ("1450000", "\\boxed{\\$1,450,000.00}"),
    ("-5", "\\boxed{-5}"),
    ("18", "first \\boxed{17}, no: \\boxed{18}"),
    ("18", "The answer is 18."),
]
GSM8K_WRONG = [
    ("18", "\\boxed{19}"),
    ("18", "\\boxed{180}"),
    ("18", "\\boxed{118}"),
    ("18", "\\boxed{1.8}"),
    ("18", "\\boxed{18.5}"),
    ("18", "\\boxed{-18}"),
    ("18", "\\boxed{1,8}"),
    ("18", "18 it is, so \\boxed{17}"),
    ("18", "first \\boxed{18}, no: \\boxed{17}"),
    ("18", "\\boxed{}"),
    ("18", "\\boxed{18"),
    ("18", ""),
    ("18", "\\boxed{seven}"),
    ("18", "\\boxed{17 or 18}"),
]
BBH_RIGHT = [
    ("(B)", "So the answer is (B)."),
    ("(B)", "So the answer is (B)"),
    ("(B)", "so The Answer is: (B).\n"),
    ("(B)", "the answer is B."),
    ("(B)", "the answer is (B) the red ball."),
    ("(B)", 'the answer is "(B)".'),
    ("(B)", "**The answer is (B).**"),
    ("(B)", "the answer is option (B)."),
    ("(B)", "A man went home. (A) or (C)? So the answer is (B). I hope this helps."),
    ("(B)", "the answer is (A). No: the answer is (B)."),
    ("True", "So the answer is true."),
    ("no", "the answer is 'no'."),
    ("valid", "the answer is valid."),
    ("-35", "= -35. So the answer is -35."),
    ("1200", "the answer is 1,200."),
    ("8", "the answer is 8.0."),
    ("} ]", "So the answer is } ]."),
    ("} ]", "So the answer is }]."),
    (")", "So the answer is )."),
    ("it&t syndrome", "So the answer is it&t  syndrome."),
    ("Monsters, Inc", "the answer is Monsters, Inc."),
]
BBH_WRONG = [
    ("(B)", "So the answer is (A)."),
    ("(B)", "(B) is right in the reasoning, but the answer is (C)."),
    ("(B)", "the answer is (B). No: the answer is (A)."),
    ("(B)", "the answer is (BA)."),
    ("(B)", "the answer is"),
    ("(B)", ""),
    ("True", "the answer is not True."),
    ("valid", "the answer is invalid."),
    ("-35", "the answer is 35."),
    ("-35", "the answer is -350."),
    ("8", "the answer is 18."),
    ("} ]", "the answer is ] }."),
    (")", "the answer is ) )."),
    ("a b c", "the answer is a c b."),
]
TABLES = [("gsm8k", GSM8K_RIGHT, 1.0), ("gsm8k", GSM8K_WRONG, 0.0), ("bbh", BBH_RIGHT, 1.0), ("bbh", BBH_WRONG, 0.0)]


@pytest.mark.parametrize(("name", "cases", "expected"), TABLES)
def test_paraphrases_score_and_near_misses_do_not(name: str, cases: list[tuple[str, str]], expected: float) -> None:
    assert wrong(load_task(name), cases, expected, "ours") == []


def test_the_tables_catch_a_grader_that_takes_the_first_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    right = answers.statements
    monkeypatch.setattr(answers, "statements", lambda *arguments: right(*arguments)[::-1])
    for name, cases, expected in TABLES:
        assert wrong(load_task(name), cases, expected, "ours") != []


@pytest.mark.parametrize("grader", NAMES)
def test_the_other_filters_are_what_their_names_say(grader: str) -> None:
    gsm8k, bbh = by_our_patterns("gsm8k"), by_our_patterns("bbh")
    last_number = [("18", "The answer is 18."), ("18", "17 + 1 = $18"), ("1000", "so 1,000 in all."), ("2", "5-3 = 2")]
    assert wrong(gsm8k, last_number, 1.0, grader, "last_number") == []
    assert wrong(gsm8k, [("18", "18 of 20"), ("18", "none")], 0.0, grader, "last_number") == []
    assert wrong(bbh, [("(B)", "(A) or (B)"), ("(B)", "(B), B: A")], 1.0, grader, "option") == []
    assert wrong(bbh, [("True", "because\n\nTrue \n\n"), ("(B)", "B")], 1.0, grader, "last_line") == []
    assert wrong(bbh, [("True", "True\nbecause")], 0.0, grader, "last_line") == []


def noise(rng: random.Random, target: str) -> str:
    """An answer-like text: the gold answer, digits, units, LaTeX and option letters in any order."""
    parts = [
        "18",
        "1,000",
        "-7",
        ".5",
        "3.0",
        " eggs",
        "\\$",
        "$",
        "\\text{ m}",
        "(B)",
        "B",
        "} ]",
        "Yes",
        ".",
        " ",
        "\n",
        "%",
    ] + 5 * [target]
    body = "".join(rng.choice(parts) for _ in range(rng.randrange(1, 4)))
    return rng.choice(["\\boxed{%s}", "So the answer is %s.", "%s", "# %s"]) % body


@pytest.mark.parametrize("name", ["world_dyck_languages", "world_multistep_arithmetic"])
def test_both_graders_agree_on_answer_like_noise(name: str) -> None:
    rng, task = random.Random(7), by_our_patterns(name)
    targets = {"world_multistep_arithmetic": ["18", "1000", "-7"], "world_dyck_languages": ["} ]", "18"]}
    cases = [(target, noise(rng, target)) for target in rng.choices(targets[name], k=800)]
    ours, theirs = scores(task, cases, "ours"), scores(task, cases, "lm_eval")
    assert [(case, a, b) for case, a, b in zip(cases, ours, theirs, strict=True) if a != b] == []
    assert 10 < sum(value or 0 for value in ours) < 400


@pytest.mark.parametrize("grader", NAMES)
def test_status_tells_no_answer_from_cut_off(grader: str) -> None:
    items = [item(str(row), "18") for row in range(4)]
    responses = [
        response("0", "\\boxed{18}"),
        response("1", "eighteen"),
        response("2", "we add", truncated=True),
        response("3", "\\boxed{18} and on", truncated=True),
    ]
    rows = [r for r in grade(by_our_patterns("gsm8k"), items, responses, LABELS, (grader,)) if r.filter == "boxed"]
    assert [row.status for row in rows] == ["ok", "no_answer", "truncated", "ok"]
    assert [row.value for row in rows] == [1.0, 0.0, 0.0, 1.0]
    assert rows[0].reason == ""
    assert rows[1].reason == "no answer found"
    assert "cut off after 7 tokens" in rows[2].reason
    assert "cut off after 7 tokens" in rows[3].reason


@pytest.mark.parametrize("grader", NAMES)
def test_rows_say_where_they_belong(grader: str) -> None:
    task = by_our_patterns("bbh")
    rows = grade(task, [item("5", "(B)")], [response("5", "the answer is (B).")], LABELS, (grader,))
    assert {row.filter for row in rows} - {"answer", "lenient"} == set(task.patterns)
    row = next(row for row in rows if row.filter == "option")
    assert row.grader_version
    assert (row.how, row.found) == (("cue", "(B)") if grader == "ours" else ("", ""))
    assert dataclasses.replace(row, how="", found="", grader_version="") == Row(
        run_id="run",
        env_id="env",
        suite="world",
        task="bbh",
        task_version=1,
        variant="default",
        subject="subject",
        method="method",
        world_seed=3,
        seed=4,
        item="5",
        cluster="5",
        grader=grader,
        filter="option",
        metric="exact_match",
        value=1.0,
        unit="fraction",
        status="ok",
        reason="",
    )


@pytest.mark.parametrize("grader", NAMES)
@pytest.mark.parametrize("name", [name for name in task_names() if name.startswith("world_")])
def test_procedural_grades_are_those_of_the_family(grader: str, name: str) -> None:
    task, family = load_task(name), FAMILIES[name.removeprefix("world_")]
    rng = random.Random(5)
    instances = [family.generate(rng, 1) for _ in range(12)]
    outputs = [instances[row - row % 2].response for row in range(12)]
    outputs[-1] = "no marker"
    items = [item(str(row), i.answer, tests=i.tests, entry="f" if i.tests else "") for row, i in enumerate(instances)]
    rows = grade(task, items, [response(str(row), o) for row, o in enumerate(outputs)], LABELS, (grader,))
    assert [row.value for row in rows] == [float(family.check(i, o)) for i, o in zip(instances, outputs, strict=True)]
    assert all(row.value == 1.0 for row in rows[::2])
    assert rows[-1].status == "no_answer"


@pytest.mark.parametrize("grader", NAMES)
def test_programs_are_run_and_their_failures_named(grader: str) -> None:
    programs = [
        "lambda x: x[::-1]",
        "lambda x: x",
        "lambda x: 1/0",
        "def f(x):\n",
        "",
        "lambda x: (x for _ in iter(int, 1))",
    ]
    tests = (([1, 2], [2, 1]), ([3], [3]))
    items = [item(str(row), "", tests=tests, entry="f") for row in range(len(programs))]
    responses = [response(str(row), f"# {program}") for row, program in enumerate(programs)]
    rows = grade(load_task("world_list_functions"), items, responses, LABELS, (grader,))
    assert [row.value for row in rows] == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [row.status for row in rows] == ["ok", "ok", "error", "error", "no_answer", "error"]
    assert rows[1].reason == "1 of 2 tests fail"
    assert "ZeroDivisionError" in rows[2].reason


def test_a_program_that_does_not_end_is_a_timeout() -> None:
    endless = "def f(x): return next(v for v in iter(int, 1) if v)"
    items = [item("0", "", tests=((1, 1),), entry="f")]
    rows = grade(load_task("world_list_functions"), items, [response("0", f"# {endless}")], LABELS, ("ours",))
    assert [(row.value, row.status) for row in rows] == [(0.0, "timeout")]


def test_outputs_are_compared_with_their_types() -> None:
    items = [item("0", "", tests=((1, 1),), entry="f")]
    task = load_task("world_list_functions")
    for program, value in (("lambda x: 1", 1.0), ("lambda x: True", 0.0), ("lambda x: 1.0", 0.0)):
        (row,) = grade(task, items, [response("0", f"# {program}")], LABELS, ("ours",))
        assert row.value == value


def seed_all() -> None:
    random.seed(11)
    np.random.seed(11)
    torch.manual_seed(11)


def draw_all() -> tuple[float, float, float]:
    return random.random(), np.random.random(), torch.rand(1).item()


@pytest.mark.parametrize("grader", NAMES)
def test_grading_leaves_random_numbers_alone(grader: str) -> None:
    """lm_eval.simple_evaluate would seed them all anew."""
    seed_all()
    expected = draw_all()
    seed_all()
    scores(by_our_patterns("gsm8k"), GSM8K_RIGHT, grader)
    assert draw_all() == expected


def test_grading_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    scores(by_our_patterns("gsm8k"), GSM8K_RIGHT, "lm_eval")
    assert capfd.readouterr() == ("", "")


def test_mistakes_of_the_caller_are_refused() -> None:
    with pytest.raises(InputError, match='did you mean "ours"'):
        grade(by_our_patterns("gsm8k"), [], [], LABELS, ("our",))
    with pytest.raises(ValueError, match="do not belong"):
        grade(
            by_our_patterns("gsm8k"), [item("0", "1"), item("1", "1")], [response("1", ""), response("0", "")], LABELS
        )
    assert grade(by_our_patterns("gsm8k"), [], [], LABELS, tuple(GRADERS)) == []


@pytest.mark.parametrize("name", ["exact_match", "number", "short_answer"])
def test_a_normal_form_keeps_an_answer_equal_to_itself(name: str) -> None:
    form = JUDGES[name].form
    assert form is not None
    assert form.normalise("(B) 1,000") == form.normalise("(B) 1,000")
    assert form.normalise("17") != form.normalise("18")


@pytest.mark.parametrize(("name", "form"), [("gsm8k", "so \\boxed{%s}"), ("bbh", "(A)? So the answer is %s.")])
def test_every_gold_answer_of_the_real_files_scores(name: str, form: str, benchmark_data: Path) -> None:
    task = load_task(name)
    items = load_items(task, benchmark_data)
    rows = grade(task, items, [response(i.item_id, form % i.target) for i in items], LABELS, ("ours",))
    headline = [row for row in rows if row.filter == task.headline.filter]
    assert len(headline) == len(items)
    assert [row.item for row in headline if row.value != 1.0] == []
    some = items[::7]
    others = some[1:] + some[:1]
    foreign = [response(i.item_id, form % other.target) for i, other in zip(some, others, strict=True)]
    graded = [row for row in grade(task, some, foreign, LABELS, ("ours",)) if row.filter == task.headline.filter]
    assert [row.value for row in graded] == [
        float(i.target == other.target) for i, other in zip(some, others, strict=True)
    ]
