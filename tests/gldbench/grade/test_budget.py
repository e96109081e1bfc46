"""No output costs more than a bounded amount of work, and what is not parsed says so in its own row only."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gldbench.grade import GRADERS
from gldbench.grade.answers import Reads, find
from gldbench.grade.cues import LONGEST_ANSWER, MOST_STATEMENTS, boxes
from gldbench.grade.judges import equivalence, ifeval
from gldbench.grade.judges.equivalence import MAX_DEPTH, parsable
from gldbench.grade.rows import bare_response
from gldbench.grade.sentences import ifeval_checkers
from gldbench.tasks import load_items, load_task

LENGTH = 20_000
PIECES = {
    "parentheses": "(",
    "brackets": "[1,",
    "braces": "{",
    "dollars": "$a",
    "backslashes": "\\",
    "boxes": "\\boxed{",
    "thoughts": "<think>",
    "digits": "1",
    "commas": ",",
    "colons": ":",
    "percent": "%",
    "new lines": "\n",
    "spaced lines": " \n",
    "windows lines": "\r\n",
    "JSON": '{"answer": [',
    "fences": "```json\n",
    "cues": "the answer is ",
    "cue lines": "The answer is\n",
    "hashes": "#### ",
    "tags": "<answer>",
    "stars": "**a",
    "superscripts": "⁰¹²",
    "one line": "word ",
    "options": "(A)  ",
    "factors": "1\\cdot",
    "titles": "<<",
}
TASKS = ("gsm8k", "bbh", "arc_c", "math", "drop", "theoremqa", "ifeval", "mmlu_ll")


@pytest.mark.parametrize("name", TASKS)
def test_hostile_outputs_cost_seconds_at_most(name: str, benchmark_data: Path) -> None:
    """Repetitions with a cost that grows with the square of the length need minutes for some of these outputs."""
    task = load_task(name)
    item = load_items(task, benchmark_data, limit=1)[0]
    texts = [piece * (LENGTH // len(piece)) for piece in PIECES.values()]
    outputs = [output for text in texts for output in (f"The answer is {text}", f"{text}\nThe answer is 5")]
    items = [dataclasses.replace(item, item_id=str(number)) for number in range(len(outputs))]
    start = time.process_time()
    grades = GRADERS["ours"].grade(task, items, [bare_response(*pair) for pair in zip(items, outputs, strict=True)])
    assert time.process_time() - start < 40
    assert {grade.item_id for grade in grades} == {item.item_id for item in items}


@pytest.mark.parametrize("piece", PIECES.values())
def test_the_readers_of_answers_get_a_bounded_number_of_characters(piece: str) -> None:
    read: list[int] = []

    def reads(text: str) -> Reads:
        read.append(len(text))
        return ""

    find(piece * (6 * LENGTH // len(piece)), reads)
    assert len(read) <= 2 * (MOST_STATEMENTS + 1)
    assert max(read, default=0) <= LONGEST_ANSWER


def test_boxes_in_boxes_do_not_multiply_the_text() -> None:
    found = boxes("\\boxed{" * 10_000 + "1" + "}" * 10_000)
    assert len(found) <= MOST_STATEMENTS
    assert found[-1][1] == "1"
    assert max(len(content) for _, content in found) <= LONGEST_ANSWER


def nested(depth: int) -> str:
    return "(" * depth + "1" + ")" * depth


def test_nested_brackets_are_not_parsed_and_cost_their_own_row_only(benchmark_data: Path) -> None:
    assert parsable(nested(MAX_DEPTH))
    assert not parsable(nested(MAX_DEPTH + 1))
    assert not parsable("1+" * 600)
    for name, good in (("math", "\\boxed{\\frac{8}{4}+0}"), ("theoremqa", "The answer is \\frac{8}{4}.")):
        task = load_task(name)
        items = load_items(task, benchmark_data)
        gold = next(i for i in items if i.target == "2")
        pair = [gold, next(i for i in items if i.item_id != gold.item_id and i.target == "3")]
        outputs = [good, f"The answer is {nested(200)}"]
        grades = GRADERS["ours"].grade(task, pair, [bare_response(i, o) for i, o in zip(pair, outputs, strict=True)])
        first, second = (
            next(g for g in grades if g.item_id == i.item_id and g.filter == task.headline.filter) for i in pair
        )
        assert (first.value, first.status) == (1.0, "ok")
        assert (second.value, second.status) == (0.0, "error")
        assert second.reason.startswith("too long to parse: more than 12 brackets")


def test_the_budget_of_an_output_is_cpu_time_and_a_breach_is_told() -> None:
    tower = "9^{9^{9^{9^9}}}"
    replies = equivalence.values([[tower, "1"], ["\\frac{1}{2}"], []], seconds=1)
    assert replies[0].too_long.startswith("too long to parse: math-verify is not done after 1 s of CPU time")
    assert replies[1] == equivalence.Reply([[0.5], None][:1])
    assert replies[2].value is None


INSTRUCTIONS = {
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_format:title": {},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_content:postscript": {"postscript_marker": "P.P.S"},
}


@given(st.lists(st.sampled_from(["[", "]", "<", ">>", "<<", "a", "\n", " ", "* b", "- ", "P.P.S", "P. P. S"])))
@settings(max_examples=200, deadline=None)
def test_shortened_texts_follow_the_same_instructions(parts: list[str]) -> None:
    library, _ = ifeval_checkers()
    text = "".join(parts).strip()
    for name, arguments in INSTRUCTIONS.items():
        upstream = library.instructions_registry.INSTRUCTION_DICT[name](name)
        upstream.build_description(**arguments)
        assert bool(ifeval._check(library, name, arguments)(text)) == bool(upstream.check_following(text)), name
