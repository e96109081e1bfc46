"""Cases for GSM8K: a number in a box."""

from __future__ import annotations

from collections.abc import Sequence

from gldbench.schema import Item, Task
from gldbench.selftest.cases import COSTLY, EMPTY, Case, adversarial, frames, garbage, made, others, unsaid


def _grouped(target: str) -> str:
    """1234567 -> 1,234,567."""
    return f"{int(target):,}" if target.lstrip("-").isdigit() else target


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """The gold number in the forms that models write, and other numbers."""
    found = made("adversarial", items[0], COSTLY)
    for item in items:
        gold, grouped = item.target, _grouped(item.target)
        found += made("gold", item, [f"We add it all up.\n\\boxed{{{gold}}}", f"So there are $\\boxed{{{gold}}}$."])
        found += made(
            "paraphrase",
            item,
            [
                f"\\boxed{{ {gold} }}.",
                f"\\boxed{{\\${gold}.00}}",
                f"\\boxed{{${gold}.00}}",
                f"\\boxed{{{grouped}}}",
                f"\\boxed{{{grouped.replace(',', '{,}')}}}",
                f"\\boxed{{{gold}.0}}",
                f"\\boxed{{{gold}\\text{{ dollars}}}}",
                f"\\boxed{{{gold} eggs}}",
                f"\\boxed{{\\textbf{{{gold}}}}}",
                f"\\boxed{{x = {gold}}}",
                f"\\boxed{{\\frac{{{2 * int(gold)}}}{{2}}}}" if gold.lstrip("-").isdigit() else f"\\boxed{{{gold}}}",
                *frames(gold),
                f"A: {gold}",
                f"Therefore, the answer (arabic numerals) is {gold}.",
                f"Answer: \\( {gold} \\)",
                f"Answer: {gold} (that is all of them)",
                f"Answer: {gold} + 0 = {gold}",
                f"The answer is {grouped}.",
                f"The answer is ${grouped} dollars.",
                f"**Answer: {gold}**",
                f"First 3 + 4 = 7, then more.\n#### {gold}",
                f"At first \\boxed{{{gold}1}}, but no: \\boxed{{{gold}}}.",
            ],
        )
        found += made(
            "near_miss",
            item,
            [
                f"\\boxed{{{gold}1}}",
                f"\\boxed{{1{gold.lstrip('-')}}}",
                f"\\boxed{{{gold}.5}}",
                f"It could be {gold}, but the answer is \\boxed{{{gold}7}}.",
                f"First \\boxed{{{gold}}}, no: \\boxed{{{gold}3}}",
                f"{gold} + {gold} = {gold}. The answer is {gold}2.",
                f"\\boxed{{{gold}",
                f"\\boxed{{{gold} or {gold}1}}",
                *unsaid(gold),
            ],
        )
        found += made("empty", item, EMPTY) + made("garbage", item, garbage(item))
        found += made("adversarial", item, adversarial(item))
    for item, other in others(items, lambda a, b: a.target == b.target):
        found += made("other", item, [f"\\boxed{{{other.target}}}", f"The answer is {other.target}."])
    return found
