"""Questions are found in rows and prompts of other harnesses, for every benchmark."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gldbench.evaluate.foreign.match import match
from gldbench.evaluate.foreign.record import Record
from gldbench.evaluate.samples import pass_at_k
from gldbench.schema import Item
from gldbench.tasks import load_items, load_task

OTHER_PROMPTS = {
    "gsm8k": "cot_zeroshot",
    "math500": "cot_zeroshot",
    "arc_c": "cot_zeroshot",
    "hellaswag": "cot_zeroshot",
    "drop": "cot_zeroshot",
    "theoremqa": "default",
    "ifeval": "cot_zeroshot",
    "humaneval": "evalplus",
    "mbpp": "evalplus",
    "mbpp_plus": "evalplus",
    "bbh/navigate": "lm_eval",
    "bbh/multistep_arithmetic_two": "opencompass",
    "mmlu/anatomy": "5shot",
    "mmlu_ll/anatomy": "default",
}


def records(items: list[Item], ids: bool = False) -> list[Record]:
    """What a file would say that holds only prompts (and ids), in the opposite order."""
    return [
        Record(f"entry {item.item_id}", (item.item_id,), (item.item_id,) if ids else (), (item.prompt,))
        for item in reversed(items)
    ]


@pytest.mark.parametrize("name", sorted(OTHER_PROMPTS))
def test_every_item_is_found_in_a_prompt_of_another_kind(name: str, benchmark_data: Path) -> None:
    task = load_task(name)
    items = load_items(task, benchmark_data)
    variant = OTHER_PROMPTS[name]
    variant = variant if variant in task.variants else "default"
    asked = load_items(task, benchmark_data, variant=variant)[:400]
    found = match(task, items, records(asked))
    assert not found.unmatched
    wrong = [item_id for item_id, outputs in found.outputs.items() if outputs != (item_id,)]
    assert len(wrong) <= found.doubled, "only items with equal texts may be exchanged"
    texts = Counter(item.prompt for item in items)
    own = {item.item_id for item in asked}
    equal = {item.prompt for item in items if item.item_id in own and texts[item.prompt] > 1}
    assert found.doubled <= sum(texts[prompt] for prompt in equal), "the data themselves hold these questions twice"


def test_numbers_of_rows_are_no_ids(benchmark_data: Path) -> None:
    """An Inspect log numbers its samples from 1, so that its id 1 is our row 0."""
    task = load_task("gsm8k")
    items = load_items(task, benchmark_data)
    shifted = [Record("x", ("first",), ("1",), (items[0].prompt,))]
    assert match(task, items, shifted).outputs == {"0": ("first",)}
    assert match(task, items, [Record("x", ("?",), ("1",))]).unmatched == ["x"], "without a text it stays unknown"


def test_an_id_must_agree_with_the_text(benchmark_data: Path) -> None:
    task = load_task("mbpp")
    items = load_items(task, benchmark_data)
    assert items[0].item_id == "11"
    contradicting = Record("x", ("out",), ("11",), (items[5].prompt,))
    assert match(task, items, [contradicting]).outputs == {items[5].item_id: ("out",)}
    assert match(task, items, [Record("x", ("out",), ("11",))]).outputs == {"11": ("out",)}


def test_options_tell_equal_questions_apart(benchmark_data: Path) -> None:
    task = load_task("mmlu")
    items = load_items(task, benchmark_data)
    by_question: dict[str, list[Item]] = {}
    for item in items:
        by_question.setdefault(item.record["question"], []).append(item)
    equal = [own for own in by_question.values() if len(own) > 1 and len({item.choices for item in own}) == len(own)]
    chosen = [item for own in equal[:20] for item in own]
    assert len(chosen) >= 20
    found = match(task, items, records(chosen))
    assert [item_id for item_id, outputs in found.outputs.items() if outputs != (item_id,)] == []


def test_the_last_question_of_a_prompt_counts_and_the_longest(benchmark_data: Path) -> None:
    task = load_task("gsm8k")
    items = load_items(task, benchmark_data)
    prompt = f"Q: {items[3].record['question']}\nA: 5\n\nQ: {items[8].record['question']}\nA:"
    assert match(task, items, [Record("x", ("out",), (), (prompt,))]).outputs == {"8": ("out",)}
    tail = dataclasses.replace(
        items[0], item_id="tail", record={**items[0].record, "question": "left over at the end?"}
    )
    whole = dataclasses.replace(
        items[0], item_id="all", record={**items[0].record, "question": "What is left over at the end?"}
    )
    for given_items in ([tail, whole], [whole, tail]):
        texts = ("Q: What is left  over at the end?\nA:",)
        assert match(task, given_items, [Record("x", ("out",), (), texts)]).outputs == {"all": ("out",)}


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_pass(n: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(combinations([True] * right + [False] * (n - right), k))
    assert math.isclose(pass_at_k(n, right, k), sum(map(any, draws)) / len(draws))
