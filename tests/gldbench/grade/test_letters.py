"""Finding the letter of an option: what counts, what does not, and that long outputs take no time."""

from __future__ import annotations

import time

import pytest

from gldbench.grade.letters import chosen_letter, last_letter

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
    ("It is most likely to be D, since nothing else fits.", "D"),
    ("The answer is surely B", "B"),
    ("C--Planetary days will become shorter.", "C"),
    ("Shorter days, hence:\n\nOption C: Planetary days will become shorter.", "C"),
    ("Answer: \\( C \\)", "C"),
    ("<answer>B</answer>", "B"),
    ('```json\n{"answer": "C"}\n```', "C"),
    ('The best completion is not obvious.\nAction: Answer("B")', "B"),
    ("The correct option is (C).", "C"),
    ("The best answer is\n\n(C)", "C"),
    ("The answer is C.</s>\nThe answer is B.", "C"),
    ("The answer is C.\n\nQuestion: Which one?\nAnswer: B", "C"),
    ("It cannot be known for sure how long the days will be, but they will not be longer. (C)", "C"),
    ('The answer is "Planetary days will become shorter."', "C"),
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
    "(C) comes near.\n\nAnswer: None of the above",
    "Perhaps (B).\n\nThe answer cannot be determined.",
    "Safety (B) was one thought.\n\nThe answer is not among the options.",
    "Maybe (D).\n\nAnswer: ABCD",
    "It is not (B).",
    "Neither (B) nor (C).",
    'The answer is C.\nAction: Answer("None of the Above")',
    "<think>The answer is C",
    "The answer is either A or B.",
    "Either A or B.",
    "Either (A) or (B)",
    "It is either A or B.",
    "The answer is between A and B.",
    "A or B is correct.",
    "Either A or B is correct.",
    "Either (A) or (B) is the best answer.",
    "A/B is correct.",
    "I do not know whether A or B is correct.",
    "The answer is A, or possibly B.",
    "Answer: B or",
    "The answer is (B) or",
    "B and",
    "The answer is A (or B).",
    "The answer is (A) or perhaps (B).",
    "I would go with A, maybe B.",
]
SETTLED = [
    ("B, not A or C", "B"),
    ("The answer is B (not A or C).", "B"),
    ("Either way, the answer is B.", "B"),
    ("either way, the answer is B", "B"),
    ("The answer is B. Either A or C would be wrong.", "B"),
    ("It is either A or B. The answer is B.", "B"),
    ("Either A or B could fit, but B is correct.", "B"),
    ("Either A or B is correct. The answer is B.", "B"),
    ("The answer is B, since A or C would be longer.", "B"),
    ("The answer is B, and A is wrong.", "B"),
    ("The answer is B (option C is tempting).", "B"),
    ("B is correct, A or C is not.", "B"),
    ("A is wrong and B is correct.", "B"),
]
"""outputs that weigh several letters, and settle on one"""


@pytest.mark.parametrize(("output", "letter"), SETTLED)
def test_a_letter_is_read_though_others_are_weighed(output: str, letter: str) -> None:
    assert chosen_letter(output, CHOICES).letter == letter


@pytest.mark.parametrize(("output", "letter"), SAID)
def test_what_is_said_is_read(output: str, letter: str) -> None:
    assert chosen_letter(output, CHOICES).letter == letter


@pytest.mark.parametrize("output", UNSAID)
def test_what_is_not_said_is_no_answer(output: str) -> None:
    assert chosen_letter(output, CHOICES).letter is None


def test_an_option_that_begins_another_is_not_taken_for_it() -> None:
    assert chosen_letter("The answer is an increase in heat.", ("an increase", "an increase in heat")).letter == "B"
    assert chosen_letter("the same", ("the same", "The same.")).letter is None
    assert chosen_letter("The answer is 0.5.", ("0", "0.5")).letter == "B"


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("Therefore, the answer is C. (C)", "C"),
        ("the correct answer is A).(A)", "A"),
        ("Therefore, I choose option (B). (B)", "B"),
        ("The answer is C. (D)", None),
        ("The answer is CC", None),
        ("The conclusion is that meanings are not in the head. (D)", "D"),
        ("The answer is not in the list. (D)", None),
    ],
)
def test_a_letter_said_twice_is_one_answer(output: str, letter: str | None) -> None:
    assert chosen_letter(output, ["iron", "tin", "lead", "zinc"]).letter == letter


def test_a_letter_alone_is_that_letter_though_an_option_has_it_as_its_text() -> None:
    assert chosen_letter("B", ["B", "A", "C"]).letter == "B"
    assert chosen_letter("(B).", ["B", "A", "C"]).letter == "B"


def test_five_options_and_letters_as_texts() -> None:
    assert chosen_letter("E", ("1", "2", "3", "4", "5")).letter == "E"
    assert chosen_letter("The answer is B", ("B", "A")).letter == "B"


@pytest.mark.parametrize(
    "text", ["answer is ", "(A) ", "A\n", "\\boxed{", "**", "the answer to ", "(", "'", "A or ", "A/"]
)
def test_a_letter_in_a_long_output_takes_no_time(text: str) -> None:
    start = time.process_time()
    chosen_letter(text * (200_000 // len(text)), CHOICES)
    assert time.process_time() - start < 3


def test_the_most_lenient_rule_takes_the_last_letter() -> None:
    assert last_letter("A or B? It cannot be told.") == "B"
    assert last_letter("nothing") is None
