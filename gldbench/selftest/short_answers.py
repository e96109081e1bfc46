"""Cases for BIG-Bench Hard: "the answer is X", where X is an option, a word, a number, brackets or a list of words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gldbench.schema import Item, Task
from gldbench.selftest.cases import COSTLY, EMPTY, Case, adversarial, frames, garbage, made, others, unsaid

OPPOSITES = {"True": "False", "Yes": "No", "yes": "no", "valid": "invalid"}
OPPOSITES |= {value: key for key, value in OPPOSITES.items()}


def wrong(target: str) -> str:
    """A wrong answer of the same form."""
    if re.fullmatch(r"\([A-Z]\)", target):
        return "(B)" if target == "(A)" else "(A)"
    if re.fullmatch(r"-?\d+", target):
        return f"{target}1"
    if target in OPPOSITES:
        return OPPOSITES[target]
    words = target.split()
    return " ".join(words[1:] + words[:1]) if len(set(words)) > 1 else f"{target} {target}"


def _paraphrases(target: str) -> list[str]:
    found = [
        f"so The Answer is: {target}.\n",
        f"**So the answer is {target}.**",
        f"the answer is  {target}  ",
        f"The correct answer is {target}",
        f"A man went home. (A) or (C)? So the answer is {target}. I hope this helps.",
        f"the answer is {wrong(target)}. No: the answer is {target}.",
    ]
    if re.fullmatch(r"\([A-Z]\)", target):
        letter = target[1]
        found += [
            f"The correct Answer is {letter}",
            f"the answer is {target} the red ball.",
            f"the answer is '{letter}'.",
        ]
        found += [f"the answer is option {target}.", f'the answer is "{target}".', f"the answer is **{target}**."]
    elif target.isalpha():
        found += [f"the answer is {target.lower()}.", f"the answer is '{target}'.", f"the answer is **{target}**."]
    elif re.fullmatch(r"-?\d+", target):
        found += [f"the answer is {target}.0.", f"the answer is {int(target):,}.", f"the answer is ${target}$."]
    return found


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """The gold answer after "the answer is", and other answers."""
    found = made("adversarial", items[0], COSTLY)
    for item in items:
        target, other = item.target, wrong(item.target)
        found += made("gold", item, [f"We think step by step. So the answer is {target}."])
        found += made("paraphrase", item, _paraphrases(target))
        if "answer" not in task.patterns:  # a task with a pattern of its own reads the answer in no other form
            found += made("paraphrase", item, [*frames(target), target]) + made("near_miss", item, unsaid(target))
        found += made(
            "near_miss",
            item,
            [
                f"So the answer is {other}.",
                f"{target} is right in the reasoning, but the answer is {other}.",
                f"the answer is {target}. No: the answer is {other}.",
                f"the answer is {target} {other}.",
            ],
        )
        found += made("empty", item, EMPTY) + made("garbage", item, garbage(item))
        found += made("adversarial", item, [text for text in adversarial(item) if text != item.prompt])
    for item, other in others(items, lambda a, b: a.target.lower() == b.target.lower()):
        found += made("other", item, [f"So the answer is {other.target}."])
    return found
