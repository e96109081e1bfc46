"""The judge of MATH: boxes, equality as text, equality as mathematics, and texts that would take forever."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gldbench.grade.judges import equivalence
from gldbench.grade.judges.math import judge
from gldbench.schema import Item
from gldbench.tasks import load_task

RIGHT = [
    ("\\frac{1}{2}", "0.5"),
    ("0.5", "1/2"),
    ("\\frac{1}{3}", "0.3333333"),
    ("18", "\\$18.00"),
    ("18", "$18$."),
    ("1{,}000", "1000"),
    ("10,080", "10080"),
    ("25\\%", "25"),
    ("25", "25\\%"),
    ("25\\%", "0.25"),
    ("30^\\circ", "30"),
    ("30", "30 degrees"),
    ("\\text{even}", "even"),
    ("\\text{Friday}", "Friday."),
    ("\\text{(C)}", "C"),
    ("5\\text{ cm}", "5"),
    ("5", "5 cm^2"),
    ("2516_8", "2516_{8}"),
    ("2516_8", "2516"),
    ("\\frac{9}{7}", "\\frac97"),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)"),
    ("[-2,7]", "x \\in [-2,7]"),
    ("[1,2)", "1 \\leq x < 2"),
    ("x=5", "5"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{bmatrix}1\\\\2\\end{bmatrix}"),
    ("\\{1,2\\}", "\\{2, 1\\}"),
    ("(-\\infty,2)\\cup(3,\\infty)", "(3,\\infty)\\cup(-\\infty,2)"),
    ("2\\sqrt{3}", "\\sqrt{12}"),
    ("x^2+2x+1", "(x+1)^2"),
    ("6 - 5i", "-5i+6"),
]
WRONG = [
    ("18", "180"),
    ("18", "-18"),
    ("2", "2x"),
    ("2x", "2"),
    ("12_3", "12_4"),
    ("(1,2)", "[1,2]"),
    ("(1,2)", "(2,1)"),
    ("\\text{even}", "neve"),
    ("\\text{(C)}", "(D)"),
    ("6+\\sqrt6", "6+\\sqrt61"),
    ("\\frac14", "\\frac141"),
    ("\\frac{1}{3}", "0.33"),
    ("0.0000001", "0.0000002"),
    ("5", "50\\text{ cm}"),
    ("12", "12 or 13"),
    ("12", "seven 12"),
    ("x+1", "x+2"),
    ("3", "()"),
]


def item(gold: str) -> Item:
    return Item("math", "default", "0", "prompt", gold, "0")


def values(pairs: list[tuple[str, str]]) -> list[float]:
    marks = judge(
        load_task("math"), [item(gold) for gold, _ in pairs], [f"so \\boxed{{{answer}}}" for _, answer in pairs]
    )
    return [own[0].value for own in marks]


def test_equal_answers_score_and_others_do_not() -> None:
    expected = [1.0] * len(RIGHT) + [0.0] * len(WRONG)
    found = values(RIGHT + WRONG)
    assert [pair for pair, a, b in zip(RIGHT + WRONG, found, expected, strict=True) if a != b] == []


def test_without_an_answer_there_is_none() -> None:
    marks = judge(load_task("math"), [item("5")] * 2, ["no idea", "\\boxed{}"])
    assert [(own[0].value, own[0].answered) for own in marks] == [(0.0, False), (0.0, False)]


CONCLUDED = [
    ("26000", "We multiply: 1000 * 26.\n\nTherefore, the value of 513^2 - 487^2 is 26000.", True),
    ("600", "We square both sides.\n\nSo, the value of $x$ when $y=3$ is $600$.", True),
    ("-3", "We subtract 16 from 13.\nSo, $\\lceil (3.6)^2 \\rceil - ( \\lceil 3.6 \\rceil ) ^2 = -3$.", True),
    ("\\frac{\\sqrt{3}}{3}", "It is $\\sqrt{1/3}$.\nHere. Finally, we rewrite it to get $\\frac{\\sqrt{3}}{3}$.", True),
    ("65", "It is (1/3)(30)(6.5).\nTherefore, the volume of the cone is 66 cubic units.", False),
    ("3", "The value is 3.\nThe next step shows that this is 3.", False),
    ("5", "Hence $x \\le 5$ holds.\nSo we try $y \\ge 5$.", False),
]
"""gold answer, output without a mark, whether its last sentence concludes the answer"""


@pytest.mark.parametrize(("gold", "output", "right"), CONCLUDED)
def test_a_conclusion_is_an_answer_where_nothing_is_marked(gold: str, output: str, right: bool) -> None:
    answer, _ = judge(load_task("math"), [item(gold)], [output])[0]
    assert answer.value == float(right)
    assert answer.how in ("last_line", "none")


def test_a_mark_hides_a_conclusion() -> None:
    answer, _ = judge(load_task("math"), [item("7")], ["The answer is \\boxed{7}.\nSo, the area is 9."])[0]
    assert (answer.value, answer.how) == (1.0, "boxed")


def test_a_text_without_end_costs_its_own_score_only_and_no_text_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path('{marker}').touch()"
    pairs = [[("4", "9^{9^{9^{9^9}}}")], [("4", code)], [(code, "4")], [("4", "\\frac{8}{2}")]]
    replies = equivalence.equivalent(pairs, seconds=2)
    assert [reply.value for reply in replies[1:]] == [False, False, True]
    assert replies[0].value is not True
    assert replies[0].reason
    assert not marker.exists()


def test_it_works_off_the_main_thread() -> None:
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.extend(values([("\\frac{1}{2}", "2^{-1}")])))
    thread.start()
    thread.join()
    assert found == [1.0]
