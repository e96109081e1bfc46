"""Finding the answer in an output: what counts as an answer, what does not, and that long outputs take no time."""

from __future__ import annotations

import time

import pytest

from gldbench.grade.answers import after_answer_is, after_thinking, boxed, boxed_or_said, chosen_letter, last_match


def test_the_last_match_of_a_pattern_counts() -> None:
    assert last_match(r"# (.*)", "# 1\n#  2 ") == "2"
    assert last_match(r"# (.*)", "no match") is None
    assert last_match(r"#(.*)", "# 1\n#  ") is None


def test_what_was_thought_is_no_part_of_the_answer() -> None:
    assert after_thinking("<think>A</think>B</think>C") == "C"
    assert after_thinking("A") == "A"


@pytest.mark.parametrize(
    ("output", "content"),
    [
        ("The answer is 4. Now \\boxed{5}", "5"),
        ("\\boxed{5}, so the answer is 4.", "4"),
        ("Answer: 4", "4"),
        ("x = 4", "x = 4"),
        ("we add three things", None),
    ],
)
def test_a_box_or_a_sentence_counts_whichever_comes_last(output: str, content: str | None) -> None:
    assert boxed_or_said(output) == content


@pytest.mark.parametrize(
    ("output", "content"),
    [
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{1}, then \\boxed{2}", "2"),
        ("\\boxed{1} \\boxed{2", "1"),
        ("\\boxed 5$", "5"),
        ("\\fbox{3}", "3"),
        ("\\boxed{}", None),
        ("5", None),
    ],
)
def test_the_last_whole_box_is_the_answer(output: str, content: str | None) -> None:
    assert boxed(output) == content


@pytest.mark.parametrize(
    ("output", "content"),
    [
        ("The final answer is $\\frac12$. I hope it is correct.", "$\\frac12$"),
        ("**The answer is 18.5**", "18.5"),
        ("the answer is 18. And so on", "18"),
        ("none", None),
    ],
)
def test_without_a_box_the_sentence_counts(output: str, content: str | None) -> None:
    assert after_answer_is(output) == content


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
    assert chosen_letter(output, CHOICES) == letter


@pytest.mark.parametrize("output", UNSAID)
def test_what_is_not_said_is_no_answer(output: str) -> None:
    assert chosen_letter(output, CHOICES) is None


def test_an_option_that_begins_another_is_not_taken_for_it() -> None:
    assert chosen_letter("The answer is an increase in heat.", ("an increase", "an increase in heat")) == "B"
    assert chosen_letter("the same", ("the same", "The same.")) is None
    assert chosen_letter("The answer is 0.5.", ("0", "0.5")) == "B"


def test_five_options_and_letters_as_texts() -> None:
    assert chosen_letter("E", ("1", "2", "3", "4", "5")) == "E"
    assert chosen_letter("The answer is B", ("B", "A")) == "B"


@pytest.mark.parametrize("text", ["answer is ", "(A) ", "A\n", "\\boxed{", "**", "the answer to ", "(", "'"])
def test_a_letter_in_a_long_output_takes_no_time(text: str) -> None:
    start = time.process_time()
    chosen_letter(text * (200_000 // len(text)), CHOICES)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("text", ["\\boxed{", "{", "answer is ", "\\boxed{5 a}"])
def test_a_box_in_a_long_output_takes_no_time(text: str) -> None:
    start = time.process_time()
    boxed(text * (300_000 // len(text)))
    after_answer_is(text * (300_000 // len(text)))
    assert time.process_time() - start < 3
