"""The judge of log-likelihoods: the likeliest option is the answer, in total and per byte."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gldbench.grade.judges import JUDGES, Mark
from gldbench.schema import Item
from gldbench.tasks import load_items, load_task, task_names

ITEM = Item("toy_ll", "default", "0", "Q", "B", "0", choices=(" yes", " certainly not", " é"))


def marks(output: str, item: Item = ITEM) -> dict[str, Mark]:
    # the judge reads only the items, so that any task will do
    (own,) = JUDGES["loglikelihood"].judge(load_task("gsm8k"), [item], [output])
    return {mark.filter: mark for mark in own}


def output(*values: float) -> str:
    return json.dumps({"loglikelihoods": values, "greedy": [False] * len(values)})


@pytest.mark.parametrize(
    ("values", "acc", "acc_norm"),
    [
        ((-5.0, -4.0, -9.0), 1.0, 1.0),  # per byte -1.67, -0.31, -4.5
        ((-3.0, -4.0, -9.0), 0.0, 1.0),  # the longer option wins per byte
        ((-9.0, -8.0, -1.0), 0.0, 0.0),  # one letter of two bytes: -0.5 a byte
        ((-4.0, -4.0, -9.0), 0.0, 1.0),  # a tie goes to the first
        ((float("-inf"), -4.0, -9.0), 1.0, 1.0),
    ],
)
def test_the_likeliest_option_is_the_answer(values: tuple[float, ...], acc: float, acc_norm: float) -> None:
    found = marks(output(*values))
    assert (found["acc"].value, found["acc_norm"].value) == (acc, acc_norm)
    assert all(mark.answered and mark.metric == "accuracy" for mark in found.values())


def test_the_space_before_an_option_and_its_bytes_count_as_in_its_text() -> None:
    # -2.1 / 3 bytes of "abc" against -1.5 / 2 bytes of "é": with the space counted, or characters, the other one wins
    item = dataclasses.replace(ITEM, target="A", choices=(" abc", " é"))
    assert marks(output(-2.1, -1.5), item)["acc_norm"].value == 1.0
    assert marks(output(-2.4, -1.5), item)["acc_norm"].value == 0.0


@pytest.mark.parametrize(
    "text",
    [
        *("", "B", "null", "[]", "{}", '{"loglikelihoods": 3}', '{"loglikelihoods": [0, 0]}'),
        *('{"loglikelihoods": [0, true, 0]}', '{"loglikelihoods": [0, "1", 0]}', '{"loglikelihoods": [0, NaN, 0]}'),
        "[" * 100_000,
    ],
)
def test_anything_else_is_no_answer(text: str) -> None:
    for mark in marks(text).values():
        assert (mark.value, mark.answered) == (0.0, False)
        assert "log-likelihoods" in mark.reason


@pytest.mark.parametrize("name", [name for name in task_names() if name.endswith("_ll")])
def test_real_items_have_continuations_and_a_gold_among_them(name: str, benchmark_data: Path) -> None:
    task = load_task(name)
    items = load_items(task, benchmark_data)
    judge: Callable = JUDGES[task.scorer].judge
    right = [
        output(*(0.0 if "ABCDE"[row] == item.target else -1e6 for row in range(len(item.choices)))) for item in items
    ]
    assert all(choice.startswith(" ") for item in items for choice in item.choices)
    assert all(mark.value == 1.0 for own in judge(task, items, right) for mark in own)
