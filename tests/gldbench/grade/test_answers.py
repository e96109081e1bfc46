"""Finding the answer in an output: what counts as an answer, what does not, and that long outputs take no time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gldbench.grade import GRADERS
from gldbench.grade.answers import THINKING, Reads, find, last_match, stopped, visible
from gldbench.grade.judges.numbers import reads_number
from gldbench.grade.judges.short_answers import reads_short_answer
from gldbench.grade.rows import bare_response
from gldbench.tasks import load_items, load_task


def test_the_last_match_of_a_pattern_counts() -> None:
    assert last_match(r"# (.*)", "# 1\n#  2 ") == "2"
    assert last_match(r"# (.*)", "no match") is None
    assert last_match(r"#(.*)", "# 1\n#  ") is None


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("<think>A</think>B</think>C", "C"),
        ("A", "A"),
        ("<think>A", ""),
        ("<think>A</think>B<think>C", "B"),
        ("<THINK>A</THINK>B", "B"),
        ("[THINK]A[/THINK]B", "B"),
        ("<|begin_of_thought|>A<|end_of_thought|>B", "B"),
        ("◁think▷A◁/think▷B", "B"),
        ("<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>", "B"),
        ("analysisWe think.assistantfinalB", "B"),
        ("<s> B</s>", "B"),
        ("B<|im_end|>\n<|im_start|>user\nC", "B"),
        ("B<｜end▁of▁sentence｜>C", "B"),
    ],
)
def test_thinking_and_the_end_of_the_text_are_no_part_of_the_answer(output: str, text: str) -> None:
    assert visible(output) == text


def test_there_is_one_list_of_thinking_tags() -> None:
    assert all(len(pair) == 2 for pair in THINKING)


def test_the_text_ends_where_eval_stops() -> None:
    assert stopped("18\nQ: next", ["\nQ:"]) == "18"
    assert stopped("18", []) == "18"


MARKED = [
    ("The answer is 18.", "18.", "cue"),
    ("the answer would be 18", "18", "cue"),
    ("The final answer should be: 18", "18", "cue"),
    ("Answer: 18", "18", "cue"),
    ("**Answer**: 18", "18", "cue"),
    ("**Answer:** 18", "18", "cue"),
    ("<b>Answer:</b> 18", "18", "cue"),
    ("\\[\n\\text{Answer: } 18\n\\]", "18", "cue"),
    ("#### 18", "18", "cue"),
    ("A: 18", "18", "cue"),
    ("Therefore, the answer (arabic numerals) is 18.", "18.", "cue"),
    ("The answer to the first question is 18", "18", "cue"),
    ("The correct option is 18", "18", "cue"),
    ("Answer(18)", "18", "cue"),
    ("Ответ: 18", "18", "cue"),
    ("答案是18", "18", "cue"),
    ("The answer is:\n\n18", "18", "next_line"),
    ("The answer is:\n\n- 18", "18", "next_line"),
    ("Final Answer\n\n18", "18", "next_line"),
    ("### Final Answer\n18", "18", "next_line"),
    ("**Final Answer:**\n\n18", "18", "next_line"),
    ("The answer is:\n\n$$\n18\n$$", "18", "next_line"),
    ("\\boxed{18}", "18", "boxed"),
    ("$\\boxed{\\frac{1}{2}}$", "\\frac{1}{2}", "boxed"),
    ("\\boxed{1} and \\boxed{2", "1", "boxed"),
    ("The answer is \\boxed{18} eggs", "18", "boxed"),
    ("<answer>18</answer>", "18", "tag"),
    ("<answer>18", "18", "tag"),
    ('{"reasoning": "16 - 7 = 9, 9 * 2", "answer": "18"}', "18", "json"),
    ('{"answer": 18}', "18", "json"),
    ('```json\n{"answer": 18}\n```', "18", "json"),
    ('So I say:\n{"answer": "18"}', "18", "json"),
    ("18", "18", "bare"),
    ("It makes 18 dollars.", "It makes 18 dollars.", "bare"),
    # the last mark counts, of whatever kind
    ("\\boxed{5}. No, the answer is 4", "4", "cue"),
    ("The answer is 4. Now \\boxed{5}", "5", "boxed"),
    ("#### 4\n<answer>5</answer>", "5", "tag"),
    (
        "The answer is 18. Let me check whether the answer is right.",
        "18. Let me check whether the answer is right.",
        "cue",
    ),
    ("Answer: 18\nIf the answer is 20, something is wrong.", "18", "cue"),
    ("Answer: \\frac{1}{2}\nAnswer: \\frac{", "\\frac{1}{2}", "cue"),
    # what runs on is cut
    ("Answer: 18\n\nQ: And two more?\nA: 20", "18", "cue"),
    ("Answer: 18\n\nQuestion: And two more?\nAnswer: 20", "18", "cue"),
    ("Answer: 18\n\nProblem 2: And two more?\nAnswer: 20", "18", "cue"),
    ("18\n\nPassage: more\nAnswer: 20", "18", "bare"),
    ("Question: How many?\nAnswer: 18", "18", "cue"),
]


@pytest.mark.parametrize(("output", "text", "how"), MARKED)
def test_what_is_marked_is_found(output: str, text: str, how: str) -> None:
    found = find(output, reads_number)
    assert (found.text, found.how) == (text, how)


@pytest.mark.parametrize("output", ["", "It is hard to say.", "The answer is a mystery.", "\\boxed{}", "Answer: ___"])
def test_what_is_no_answer_is_not_found(output: str) -> None:
    found = find(output, reads_number)
    assert (found.text, found.how, found.refused) == (None, "none", False)


TEMPLATES = [
    "Answer: $X$ (without quotes) where X is the answer",
    "Answer: $LETTER (without quotes) where LETTER is one of ABCD.",
    "The answer is [your answer].",
    "The answer is <answer here>.",
    "Answer: $ANSWER",
    "Answer: YOUR ANSWER",
    "\\boxed{ANSWER}",
]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("reads", [reads_number, reads_short_answer])
def test_a_repeated_template_is_no_answer_and_hides_none(template: str, reads: Callable[[str], Reads]) -> None:
    for found in (find(template, reads), find(f"{template}\nIt is hard.", reads)):
        assert (found.text, found.refused) == (None, False)
    assert find(f"{template}\n\nSo it is 9 * 2.\nAnswer: 18", reads).text == "18"
    assert find(f"Answer: 18\n\n{template}", reads).text == "18"


@pytest.mark.parametrize("rest", ["(without quotes)", "(without quotes) where $18$ is the answer to the problem."])
def test_a_template_that_was_filled_in_is_an_answer(rest: str) -> None:
    assert find(f"Answer: $18$ {rest}", reads_number).text == "$18$"


def test_an_answer_with_a_condition_is_no_template() -> None:
    assert find("The answer is $2n+1$, where $n$ is the number of sides.", reads_number).text is not None
    assert find("The answer is [1, 0, 1], where the last is the letter.", reads_number).text is not None


NEXT_PROSE = "We see that there are 3 ducks and that each of the 3 lays 2 of the eggs in a day, so it is as we said"


@pytest.mark.parametrize(
    ("line", "taken"),
    [("18", True), ("She makes $18 in a day", True), (NEXT_PROSE, False), ("The 3 steps are:", False)],
)
def test_the_line_after_a_cue_must_look_like_an_answer(line: str, taken: bool) -> None:
    found = find(f"The answer is 7.\nThe answer is:\n\n{line}", reads_number)
    assert found.text == (line if taken else "7.")


def test_a_long_list_of_words_may_stand_after_a_cue() -> None:
    words = "apple bear chair door elephant fox grape house igloo jar kite lemon mouse nest orange pear queen river"
    assert find(f"The sorted list is the answer:\n{words}", reads_short_answer).text == words


def test_the_line_after_a_cue_must_state_one_number_in_gsm8k(benchmark_data: Path) -> None:
    task = load_task("gsm8k")
    item = load_items(task, benchmark_data, limit=1)[0]

    def how(output: str) -> tuple[float | None, str, str]:
        grade = GRADERS["ours"].grade(task, [item], [bare_response(item, output)])[0]
        return grade.value, grade.how, grade.found

    assert how("The answer is 18.\nThe answer is:\n3 x y7 ]] 42 qq") == (1.0, "cue", "18.")
    long = (
        "Janet sells 16 - 3 - 4 = 9 of the eggs in a day, and so the sum that she makes in a day is 9 * 2 = 18 dollars"
    )
    assert how(f"The answer is:\n{long}.") == (1.0, "next_line", f"{long}.")


def test_a_refusal_outweighs_an_earlier_answer() -> None:
    found = find("Answer: 18\nNo: the answer cannot be determined.", reads_number)
    assert (found.text, found.refused) == (None, True)


def test_two_unmarked_lines_are_no_answer() -> None:
    assert find("There are 18.\nOr 20.", reads_number).text is None
    assert find("word " * 100, reads_short_answer).text is None


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{",
        "{",
        "answer is ",
        "\\boxed{5 a}",
        "**a ",
        "*a ",
        "<answer>",
        '"answer": "',
        "answer (",
        "\n\nQ",
        "$$",
    ],
)
def test_a_long_output_takes_no_time(text: str) -> None:
    start = time.process_time()
    find(text * (200_000 // len(text)), reads_number)
    assert time.process_time() - start < 3
