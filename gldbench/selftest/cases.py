"""The cases of the self-test: outputs with known scores, and their kinds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gldbench.schema import Item, Task

Kind = Literal["gold", "paraphrase", "near_miss", "other", "empty", "garbage", "adversarial"]
KINDS: tuple[Kind, ...] = ("gold", "paraphrase", "near_miss", "other", "empty", "garbage", "adversarial")
RIGHT: tuple[Kind, ...] = ("gold", "paraphrase")
"""kinds in which every case must score 1"""
GUESSES: tuple[Kind, ...] = ("garbage", "adversarial")
"""kinds in which the mean score must be at most chance; in the remaining kinds every case must score 0"""


@dataclass(frozen=True)
class Case:
    """An output for an item. Its kind determines the score that it must get."""

    kind: Kind
    item: Item
    output: str


CaseMaker = Callable[[Task, Sequence[Item]], list[Case]]
"""(task, some of its items) -> cases of every kind"""


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many items at equal distances in the file: each subtask of a sorted file gets its share."""
    if count >= len(items):
        return list(items)
    return [items[place * len(items) // count] for place in range(count)]


def others(items: Sequence[Item], same: Callable[[Item, Item], bool]) -> Iterator[tuple[Item, Item]]:
    """Pairs of each item and the next item with another gold answer.

    Args:
        items: the items.
        same: whether two items have the same gold answer.
    """
    for place, item in enumerate(items):
        rest = [*items[place + 1 :], *items[:place]]
        found = next((other for other in rest if not same(item, other)), None)
        if found is not None:
            yield item, found


def made(kind: Kind, item: Item, outputs: Iterable[str]) -> list[Case]:
    """A case for each output."""
    return [Case(kind, item, output) for output in outputs]


def frames(answer: str) -> list[str]:
    """The answer in the frames in which models present one: headings, tags, JSON, thoughts, a new question after it."""
    return [
        f"We go through it.\n\nAnswer: {answer}",
        f"We go through it.\n\n**Answer**: {answer}",
        f"**Final Answer:**\n\n{answer}",
        f"### Final Answer\n{answer}",
        f"So the answer is:\n\n{answer}",
        f"The final answer would be: {answer}",
        f"<answer>{answer}</answer>",
        json.dumps({"reasoning": "as above", "answer": answer}),
        f"```json\n{json.dumps({'answer': answer})}\n```",
        f"<think>Perhaps the answer is 987654.</think>\nThe answer is {answer}",
        f"Answer: {answer}</s>",
        f"Answer: {answer}\n\nQuestion: And what is next?\nAnswer: 987654",
    ]


def unsaid(answer: str) -> list[str]:
    """Outputs that name the answer and do not settle on it."""
    return [f"<think>The answer is {answer}", f"It may be {answer}.\n\nThe answer cannot be determined."]


EMPTY = ("", " ", "\n\n\t\n")
WORDS = ("the", "we", "and", "so", "of", "then", "because", "first", "it", "that", "with", "for", "which", "there")
CODE = (
    "__import__('os').system('touch gldbench-selftest-was-here')",
    "The answer is __import__('pathlib').Path('gldbench-selftest-was-here').touch()",
    "\\boxed{open('gldbench-selftest-was-here', 'w')}",
    'Answer: exec("raise SystemExit(0)")',
)
"""texts that write a file or exit where a grader evaluates them as code"""


def garbage(item: Item) -> list[str]:
    """Texts without an answer. An item always gets the same ones."""
    rng = random.Random(f"garbage {item.item_id}")
    words = " ".join(rng.choices(WORDS, k=40))
    letters = "".join(rng.choices("qwertyuiopsdfghjklzxvbnm ;#@~", k=200))
    return [words, letters, "I do not know.", "\ufffd\u2028\x00" * 20]


COSTLY = ("\\boxed{9^{9^{9^{9^{9}}}}}", "The answer is 9^{9^{9^{9^{9}}}}")
"""short texts with values that nobody can compute; for one item only, because a grader may wait until its time limit"""


def adversarial(item: Item) -> list[str]:
    """Texts that a careless grader takes for an answer or for code, or that make its expressions slow."""
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
