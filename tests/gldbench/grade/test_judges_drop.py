"""The judge of DROP: the rules of the official script, and our exceptions."""

from __future__ import annotations

from pathlib import Path

import pytest
from lm_eval.tasks.drop.utils import get_metrics

from gldbench.grade.judges import JUDGES
from gldbench.grade.judges.drop import score
from gldbench.schema import Item
from gldbench.tasks import load_items, load_task


def marks(output: str, *golds: str) -> dict[str, float]:
    """metric -> value of one output."""
    item = Item("drop", "default", "0", "prompt", golds[0], "0", golds=golds)
    (own,) = JUDGES["drop"].judge(load_task("drop"), [item], [output])
    return {mark.metric: mark.value for mark in own if mark.filter == "answer"}


RIGHT = [
    ("Answer: 13", ["13"]),
    ("We count 12, then one more.\nAnswer: 13.", ["13"]),
    ("**Answer:** $13$", ["13"]),
    ("Answer: \\boxed{\\text{13}}", ["13"]),
    ("Answer:\n13", ["13"]),
    ("Answer: 12\nNo, wait.\nAnswer: 13", ["13"]),
    ("answer : 13.0", ["13"]),
    ("So the answer is 13. I hope this helps.", ["13"]),
    ("13", ["13"]),
    ("Answer: $1,234.50", ["1234.5"]),
    ("Answer: 13.5.", ["13.5"]),
    ("Answer: (13.5)", ["13.5"]),
    ("Answer: .52", ["0.52"]),
    ("Answer: 23.6%", ["23.6"]),
    ("Answer: the Bears", ["Bears"]),
    ('Answer: "Jerry Porter"', ["Jerry  Porter"]),
    ("Answer: St. Louis.", ["St. Louis"]),
    ("Answer: 14.70%.", ["14.7"]),
    ("Answer: It fell in 1510. The king fled.", ["It fell in 1510. The king fled."]),
    ("Answer: 26 yard", ["26-yard"]),
    ("Answer: 1921-22", ["1921–22"]),
    ("Answer: May 13th, 1990", ["13 May 1990"]),
    ("Answer: Filipinos, Pakistanis", ["Pakistanis and Filipinos"]),
    ("Answer: A1; B2 and C3", ["A1 and B2 and C3"]),
    ("Answer: Bosnia and Herzegovina", ["Bosnia and Herzegovina"]),
    ("Answer: Medellín. This follows from the passage.", ["Medellín"]),
    ("Answer: the EU. This follows from the passage.", ["EU"]),
    ("Answer: Thirty Years' War. This follows from the passage.", ["Thirty Years' War"]),
    ("Answer:\n- Germany\n- Spain\n- Libya", ["Germany and Spain and Libya"]),
    ("We count.\n\n**Final Answer:**\n\n* Germany\n* Spain", ["Germany and Spain"]),
    ("The answers are:\n- Germany\n- Spain\n\nAnswer: Libya", ["Libya"]),
    ("Answer: Patrick Crayton", ["WR Patrick Crayton", "Patrick Crayton"]),
]
WRONG = [
    ("Answer: 3", ["13"]),
    ("Answer: 13", ["3"]),
    ("Answer: 130", ["13"]),
    ("Answer: 135", ["13.5"]),
    ("Answer: 13 yards", ["14 yards"]),
    ("13 it was.\nAnswer: 12", ["13"]),
    ("Answer: 13\nAnswer: 12", ["13"]),
    ("Answer: C and D", ["A and B"]),
    ("Answer: June 13, 1990", ["14 July 1991"]),
    ('a line of the form "Answer: $ANSWER" at the end', ["end"]),
    ("the bears\nwon", ["bears"]),
    ("", ["13"]),
    ("Answer: ", ["13"]),
]


@pytest.mark.parametrize(("output", "golds"), RIGHT)
def test_right_answers_match_exactly(output: str, golds: list[str]) -> None:
    assert marks(output, *golds) == {"f1": 1.0, "em": 1.0}


@pytest.mark.parametrize(("output", "golds"), WRONG)
def test_wrong_answers_score_nothing(output: str, golds: list[str]) -> None:
    assert marks(output, *golds)["em"] == 0.0
    assert marks(output, *golds)["f1"] == 0.0


def test_partly_right_answers_have_their_share_of_f1() -> None:
    assert marks("Answer: Jerry Porter", "Porter") == {"f1": 0.67, "em": 0.0}
    assert marks("Answer: Bears", "Bears and Lions") == {"f1": 0.5, "em": 0.0}
    assert marks("Answer: Bears, Lions, Jets", "Bears and Lions") == {"f1": 0.67, "em": 0.0}
    assert marks("Answer: 13 or 14", "13")["em"] == 0.0


def test_no_answer_is_told_from_a_wrong_one() -> None:
    item = Item("drop", "default", "0", "prompt", "13", "0", golds=("13",))
    task = load_task("drop")
    outputs = ["Answer: 12", "two\nlines", "", "\u2028", "Answer: !!"]
    answered = [own[0].answered for own in JUDGES["drop"].judge(task, [item] * len(outputs), outputs)]
    assert answered == [True, False, False, False, False]


SPANS = ["13", "Bears", "Jerry Porter", "the 26-yard field goal", "U.S. forces", "two touchdowns", "1,000", "3 and 13"]


def test_single_spans_score_as_in_the_official_script() -> None:
    for answer in SPANS[:-1]:
        for gold in SPANS[:-1]:
            assert score(answer, [gold]) == get_metrics(answer, gold), (answer, gold)


def test_several_spans_score_as_in_the_official_script() -> None:
    """The official script takes a list of spans, and we take one text in which "and" joins them."""
    lists = [
        ("Bears",),
        ("Bears", "Lions"),
        ("Lions", "Bears"),
        ("3", "13"),
        ("13",),
        ("Bears", "Lions", "New York Jets"),
    ]
    for answer in lists:
        for gold in lists:
            expected = get_metrics(list(answer), list(gold))
            assert score(" and ".join(answer), [" and ".join(gold)]) == expected, (answer, gold)


def test_every_gold_of_the_real_file_scores_and_others_do_not(benchmark_data: Path) -> None:
    task = load_task("drop")
    items = load_items(task, benchmark_data)[::5]
    outputs = [f"We look.\nAnswer: {gold}." for item in items for gold in item.golds[-1:]]
    marked = JUDGES["drop"].judge(task, items, outputs)
    assert [item.golds for item, own in zip(items, marked, strict=True) if {m.value for m in own} != {1.0}] == []
    foreign = JUDGES["drop"].judge(task, items, outputs[1:] + outputs[:1])
    assert sum(own[1].value for own in foreign) / len(items) < 0.05  # small numbers are often the same


@pytest.mark.parametrize("text", ["a, b and ", "\\boxed{", "answer", " ", "13 ", "9", "Answer:"])
def test_huge_outputs_are_read_in_time_that_grows_with_their_length(text: str) -> None:
    assert marks("Answer: " + text * (200_000 // len(text)), "3 and 14")["em"] == 0.0
