"""The judge of lettered options: what an output says, and what it does not say."""

from __future__ import annotations

import time

import pytest

from gldbench.grade.judges.choice import chosen, judge
from gldbench.schema import Item

CHOICES = (
    "Planetary density will decrease.",
    "Planetary years will become longer.",
    "Planetary days will become shorter.",
    "Planetary gravity will become stronger.",
)
LISTED = "\n".join(f"{letter}. {text}" for letter, text in zip("ABCD", CHOICES, strict=True))

SAID = [
    ("C", "C"),
    ("c", "C"),
    ("(C)", "C"),
    ("C)", "C"),
    ("**B**", "B"),
    ("'B'", "B"),
    ('"D".', "D"),
    ("(B) text", "B"),
    ("A, because it is", "A"),
    ("C. Planetary days will become shorter.", "C"),
    ("Planetary days will become shorter.", "C"),
    ("planetary days  will become shorter", "C"),
    ("The answer is planetary days will become shorter.", "C"),
    ("Answer: $B$", "B"),
    ("**Answer:** C", "C"),
    ("### Final Answer\n\nC", "C"),
    ("The correct answer is C", "C"),
    ("the answer is c.", "C"),
    ("The answer is A because x", "A"),
    ("The answer to the question is (C)", "C"),
    ("The answer is C, and D is wrong", "C"),
    ("\\boxed{C}", "C"),
    ("$\\boxed{\\text{(C)}}$", "C"),
    ("The answer is $\\mathbf{C}$", "C"),
    ("So the correct option is **C. Planetary days will become shorter.**", "C"),
    ("Option C is correct.", "C"),
    ("I would go with option (C).", "C"),
    ("The ending that makes the most sense is C.", "C"),
    ("A man went home. (C)", "C"),
    ("(A) is tempting, but (C) fits.", "C"),
    ("(C) fits. (A) is wrong.", "C"),
    ("A looks right at first. So (C).", "C"),
    ("C because A is wrong and B is too.", "C"),
    ("C\n\nA is wrong. (B) is wrong.", "C"),
    ("Answer: C\n\nExplanation: (A) and (B) are wrong.", "C"),
    ("A: no\nB: no\nC: yes\nD: no\nAnswer: C", "C"),
    ("The answer is not A. C is correct", "C"),
    ("C fits the reasoning, but the answer is A", "A"),
    ("The answer is B. No, the answer is (D).", "D"),
    ("<think>A? B? maybe (D)</think>\nC", "C"),
]
UNSAID = [
    "",
    "   ",
    "A man went home.",
    "The answer is a mystery.",
    "The answer is A planet that rotates",
    "The answer is A or B",
    "The answer is (A) and (C).",
    "The answer is A, B, C, or D.",
    "The answer is F.",
    "The answer is CD",
    "A B C D",
    "A, B, C, D",
    "A\nB\nC\nD",
    "(A) (B) (C) (D)",
    LISTED,
    "You may choose from 'A', 'B', 'C', 'D'.\nAnswer:",
    "The answer is [the_answer_letter].\nwhere the [the_answer_letter] is one of A, B, C or D.",
    "Answer the question by replying A, B, C or D.",
    "Vitamin A",
]


@pytest.mark.parametrize(("output", "letter"), SAID)
def test_what_is_said_is_read(output: str, letter: str) -> None:
    assert chosen(output, CHOICES) == letter


@pytest.mark.parametrize("output", UNSAID)
def test_what_is_not_said_is_no_answer(output: str) -> None:
    assert chosen(output, CHOICES) is None


def test_an_option_that_begins_another_is_not_taken_for_it() -> None:
    assert chosen("The answer is an increase in heat.", ("an increase", "an increase in heat")) == "B"
    assert chosen("the same", ("the same", "The same.")) is None
    assert chosen("The answer is 0.5.", ("0", "0.5")) == "B"


def test_five_options_and_letters_as_texts() -> None:
    assert chosen("E", ("1", "2", "3", "4", "5")) == "E"
    assert chosen("The answer is B", ("B", "A")) == "B"


def test_a_mark_says_whether_there_was_an_answer() -> None:
    item = Item("arc_c", "default", "0", "prompt", "C", "0", choices=CHOICES)
    marks = [own[0] for own in judge(None, [item] * 3, ["C", "B", "no idea"])]  # type: ignore[arg-type]
    assert [(m.filter, m.metric, m.value, m.answered) for m in marks] == [
        ("answer", "accuracy", 1.0, True),
        ("answer", "accuracy", 0.0, True),
        ("answer", "accuracy", 0.0, False),
    ]


@pytest.mark.parametrize("text", ["answer is ", "(A) ", "A\n", "\\boxed{", "**", "the answer to ", "(", "'"])
def test_long_outputs_take_no_time(text: str) -> None:
    start = time.process_time()
    chosen(text * (200_000 // len(text)), CHOICES)
    assert time.process_time() - start < 3
