"""Cases for DROP: an answer line with a number, a date or spans."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gldbench.schema import Item, Task
from gldbench.selftest.cases import COSTLY, EMPTY, Case, adversarial, frames, garbage, made, others


def _words(item: Item) -> set[str]:
    return set(re.findall(r"\w+", " ".join(item.golds).lower())) - {"a", "an", "the", "and"}


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"\d+(?:\.\d+)?", text))


def _paraphrases(gold: str) -> list[str]:
    found = [
        f"We look at the passage.\n\nAnswer:  {gold} ",
        f"**Answer: {gold}**",
        f"Answer: {gold.upper()}",
        f'Answer: "{gold}"',
        f"Answer: {gold}.",
        f"Answer: zebra\nNo, that is wrong.\nAnswer: {gold}",
        f"The answer is {gold}.",
        *frames(gold),
    ]
    if _is_number(gold):
        found += [f"Answer: ${gold}", f"Answer: **{gold}**"]
        found += [f"Answer: {int(gold):,}"] if gold.isdigit() else []
    elif " and " in gold and gold.count(" and ") == 1:
        found.append(f"Answer: {' and '.join(reversed(gold.split(' and ')))}")
    else:
        found.append(f"Answer: the {gold}")
    return found


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """Every accepted answer, and answers that have no word in common with them."""
    found = made("adversarial", items[0], COSTLY)
    for item in items:
        gold = item.target
        wrong = f"{gold.replace('.', '')}7" if _is_number(gold) else "zebra"
        found += made("gold", item, [f"We count in the passage.\nAnswer: {each}" for each in item.golds])
        found += made("paraphrase", item, _paraphrases(gold))
        found += made(
            "near_miss",
            item,
            [
                f"Answer: {wrong}",
                f"The passage says {gold}, but that is another year.\nAnswer: {wrong}",
                f"Answer: {gold}\nNo, wait.\nAnswer: {wrong}",
            ],
        )
        found += made("empty", item, EMPTY)
        found += made("garbage", item, garbage(item)) + made("adversarial", item, adversarial(item))
    for item, other in others(items, lambda a, b: bool(_words(a) & _words(b))):
        found += made("other", item, [f"Answer: {other.target}"])
    return found
