"""The judge of TheoremQA: every type of answer, with its forms and its tolerance."""

from __future__ import annotations

from typing import Any

import pytest

from gldbench.grade.judges.quantities import parts, plain_number
from gldbench.grade.judges.theoremqa import judge, near
from gldbench.schema import Item
from gldbench.tasks import load_task

TASK = load_task("theoremqa")

INTEGER, FLOAT, INTEGERS, FLOATS, BOOL, OPTION = (
    *("integer", "float", "list of integer", "list of float"),
    *("bool", "option"),
)
RIGHT: list[tuple[Any, str, str]] = [
    (11760, INTEGER, "The answer is 11760"),
    (11760, INTEGER, "**The answer is 11,760.**"),
    (11760, INTEGER, "\\boxed{11760}"),
    (11760, INTEGER, "so x = 11760"),
    (1024, INTEGER, "The answer is $2^{10}$"),
    (6, INTEGER, "The answer is 3!"),
    (25, INTEGER, "The answer is 25 m/s^2."),
    (0.5, FLOAT, "The answer is $\\frac12$."),
    (0.17, FLOAT, "The answer is 17%"),
    (17.0, FLOAT, "The answer is 17\\%"),
    (0.7854, FLOAT, "The answer is pi/4"),
    (0.1353, FLOAT, "The answer is e^-2"),
    (0.866, FLOAT, "The answer is sqrt(3)/2"),
    (0.866, FLOAT, "The answer is $\\frac{\\sqrt{3}}{2} \\approx 0.866$"),
    (0.693, FLOAT, "The answer is \\ln 2"),
    (833.33, FLOAT, "The answer is approximately 833.33 frames"),
    (1.2e-5, FLOAT, "The answer is 1.2 × 10^{-5} m/s"),
    (1.2e-5, FLOAT, "The answer is $1.2 \\cdot 10^{-5} \\text{ m}$"),
    (0.333, FLOAT, "The answer is .333"),
    (2.37, FLOAT, "The answer is 2.4"),
    (990000.0, FLOAT, "The answer is $990,000"),
    (60.0, FLOAT, "The answer is 60°"),
    ([1, 2], INTEGERS, "The answer is [1, 2]"),
    ([1, 2], INTEGERS, "The answer is $x = 1, y = 2$"),
    ([1, 2], INTEGERS, "The answer is \\begin{pmatrix}1\\\\2\\end{pmatrix}"),
    ([1, 2], INTEGERS, "\\boxed{(x,y)=(1,2)}"),
    ([0.333, 0.25], FLOATS, "The answer is $[\\frac{1}{3}, \\frac{1}{4}]$"),
    (True, BOOL, "The answer is Yes"),
    (False, BOOL, "The answer is not true"),
    (True, BOOL, "So the statement is true."),
    ("(b)", OPTION, "The answer is B."),
    ("(b)", OPTION, "(b)"),
]
WRONG: list[tuple[Any, str, str]] = [
    (11760, INTEGER, "The answer is 117600"),
    (11760, INTEGER, "11760 in the reasoning. The answer is 5"),
    (3, INTEGER, "The answer is 3.4"),
    (3, INTEGER, "The answer is 3 or 4"),
    (3, INTEGER, "we have 3 things and then more"),
    (0, INTEGER, "The answer is __import__('os').getpid()*0"),
    (9, INTEGER, "The answer is 9^{9^{9^9}}"),
    (2, INTEGER, "The answer is \\frac{1}{0}"),
    (0.5, FLOAT, "The answer is 0.6"),
    (0.0, FLOAT, "The answer is 0.1"),
    (0.17, FLOAT, "The answer is 0.0017"),
    ([1, 2], INTEGERS, "The answer is [1, 2, 3]"),
    ([1, 2], INTEGERS, "The answer is 12"),
    (True, BOOL, "The answer is not true"),
    (True, BOOL, "maybe"),
    ("(b)", OPTION, "(b) seems right, but the answer is (c)"),
    ("(b)", OPTION, "(a) (b) (c) (d)"),
]


def item(gold: Any, kind: str) -> Item:
    record = {"Answer": gold, "Answer_type": kind}
    return Item("theoremqa", "default", "0", "prompt", str(gold), "0", record=record)


def test_forms_of_the_gold_answer_score_and_others_do_not() -> None:
    cases = RIGHT + WRONG
    marks = judge(TASK, [item(gold, kind) for gold, kind, _ in cases], [output for *_, output in cases])
    expected = [1.0] * len(RIGHT) + [0.0] * len(WRONG)
    assert [case for case, own, value in zip(cases, marks, expected, strict=True) if own[0].value != value] == []


def test_tolerances_are_those_stated() -> None:
    assert near(1.039, 1.0)
    assert not near(1.041, 1.0)
    assert not near(3.001, 3)
    assert near(1e-7, 0.0)
    assert not near(1e-5, 0.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1,000", 1000.0), ("-\\frac{1}{4}", -0.25), ("1.5e-3", 0.0015), ("3/4", 0.75), ("1/0", None), ("two", None)],
)
def test_plain_numbers(text: str, value: float | None) -> None:
    assert plain_number(text) == value


def test_members_of_lists() -> None:
    assert parts("$\\{1, 2\\}$") == ["1", "2"]
    assert parts("\\frac{-3-\\sqrt{17}}{4}, 2") == ["\\frac{-3-\\sqrt{17}}{4}", "2"]
    assert parts("8, 0, 2, and -2") == ["8", "0", "2", "-2"]


def test_no_answer_is_told_from_a_wrong_one() -> None:
    marks = judge(TASK, [item(3, INTEGER)] * 2, ["nothing comes of it", "The answer is 4"])
    assert [own[0].answered for own in marks] == [False, True]
