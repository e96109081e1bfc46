"""What a self-test of graders is made of: outputs whose score is known, and the kinds they are of."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gldbench.schema import Item, Task

Kind = Literal["gold", "paraphrase", "near_miss", "other", "empty", "garbage", "adversarial"]
KINDS: tuple[Kind, ...] = ("gold", "paraphrase", "near_miss", "other", "empty", "garbage", "adversarial")
RIGHT: tuple[Kind, ...] = ("gold", "paraphrase")
"""kinds of which every case scores 1"""
GUESSES: tuple[Kind, ...] = ("garbage", "adversarial")
"""kinds whose mean is at most chance; of the others every case scores 0"""


@dataclass(frozen=True)
class Case:
    """An output for an item, made so that its score is known."""

    kind: Kind
    item: Item
    output: str


CaseMaker = Callable[[Task, Sequence[Item]], list[Case]]
"""(task, some of its items) -> cases of every kind"""


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items at equal distances in file order, so that every subtask of a sorted file has its share."""
    if count >= len(items):
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def others(items: Sequence[Item], same: Callable[[Item, Item], bool]) -> Iterator[tuple[Item, Item]]:
    """Each item with the next one that has another gold answer."""
    for place, item in enumerate(items):
        rest = [*items[place + 1 :], *items[:place]]
        found = next((other for other in rest if not same(item, other)), None)
        if found is not None:
            yield item, found


def made(kind: Kind, item: Item, outputs: Iterable[str]) -> list[Case]:
    """A case for each output."""
    return [Case(kind, item, output) for output in outputs]


EMPTY = ("", " ", "\n\n\t\n")
WORDS = ("the", "we", "and", "so", "of", "then", "because", "first", "it", "that", "with", "for", "which", "there")
CODE = (
    "__import__('os').system('touch gldbench-selftest-was-here')",
    "The answer is __import__('pathlib').Path('gldbench-selftest-was-here').touch()",
    "\\boxed{open('gldbench-selftest-was-here', 'w')}",
    'Answer: exec("raise SystemExit(0)")',
)
"""texts that do something where a grader evaluates them"""


def garbage(item: Item) -> list[str]:
    """Texts without an answer, the same for an item every time."""
    rng = random.Random(f"garbage {item.item_id}")
    words = " ".join(rng.choices(WORDS, k=40))
    letters = "".join(rng.choices("qwertyuiopsdfghjklzxvbnm ;#@~", k=200))
    return [words, letters, "I do not know.", "\ufffd\u2028\x00" * 20]


COSTLY = ("\\boxed{9^{9^{9^{9^{9}}}}}", "The answer is 9^{9^{9^{9^{9}}}}")
"""short texts whose value takes for ever, for one item of a benchmark: a grader may wait out its time limit"""


def adversarial(item: Item) -> list[str]:
    """Texts that a careless grader takes for the answer, for a rule that says less, or for code."""
    return [
        item.prompt,  # the prompt again, with all its options
        "A B C D",
        "A, B, C, D",
        "Yes No True False",
        "The answer is",
        "The answer is [answer].",
        "\\boxed{}",
        "\\boxed{\\boxed{\\boxed{",
        "([{" * 1_000,
        "answer is " * 500,
        *CODE,
    ]
