"""Cases for MATH and MATH-500: an expression in a box."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from gldbench.grade.judges.latex import as_text, spelled
from gldbench.schema import Item, Task
from gldbench.selftest.cases import COSTLY, EMPTY, Case, adversarial, frames, garbage, made, others, unsaid

GUESSED = 4
"""only so many items get empty, garbage and adversarial texts, because computer algebra is slow on each of them"""
_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}")


def box(text: str) -> str:
    """The text in a box, as the prompt asks for it."""
    return f"\\boxed{{{text}}}"


def _paraphrases(gold: str) -> list[str]:
    found = [
        f"\\boxed{{ {gold} }}.",
        f"$$\\boxed{{{gold}}}$$",
        f"First \\boxed{{0.123}}, but no:\n\\[ \\boxed{{{gold}}} \\]",
        f"Final Answer: The final answer is ${gold}$. I hope it is correct.",
        f"The answer is ${gold}$.",
        *frames(f"${gold}$"),
        box(gold.replace("\\frac", "\\dfrac").replace("\\left(", "(").replace("\\right)", ")")),
    ]
    fraction = _FRACTION.fullmatch(gold)
    if fraction:
        value = Fraction(int(fraction[2]), int(fraction[3])) * (-1 if fraction[1] else 1)
        found += [f"\\boxed{{{value.numerator}/{value.denominator}}}"]
        if value.denominator in (2, 4, 5, 8, 10):
            found += [f"\\boxed{{{float(value)}}}"]
    if re.fullmatch(r"-?\d+", gold):
        found += [
            f"\\boxed{{\\${gold}.00}}",
            f"\\boxed{{{int(gold):,}}}",
            box(f"{int(gold):,}".replace(",", "{,}")),
            f"\\boxed{{x = {gold}}}",
            f"\\boxed{{{gold} \\text{{ cm}}}}",
            f"\\boxed{{{gold}^\\circ}}",
            f"\\boxed{{{gold}\\%}}",
            f"\\boxed{{\\frac{{{2 * int(gold)}}}{{2}}}}",
        ]
    if re.fullmatch(r"-?\d+\.\d+", gold):
        value = Fraction(gold)
        found += [f"\\boxed{{\\frac{{{value.numerator}}}{{{value.denominator}}}}}"]
    return found


def _near(gold: str) -> list[str]:
    """Wrong answers close to the gold one: with a changed number, or with an addition."""
    changed = re.sub(r"\d+(?!.*\d)", lambda match: f"{match[0]}1", gold, flags=re.DOTALL)
    if changed == gold:
        changed = f"{gold} + 1" if "text" not in gold else "\\text{something else}"
    return [
        f"\\boxed{{{changed}}}",
        f"It could be ${gold}$, but the answer is $\\boxed{{{changed}}}$.",
        f"First \\boxed{{{gold}}}, no: \\boxed{{{changed}}}",
        f"We find ${gold}$. The final answer is ${changed}$. I hope it is correct.",
        f"\\boxed{{{gold}",
        *unsaid(f"${gold}$"),
    ]


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """The gold expression in several spellings, and other expressions."""
    found = made("adversarial", items[0], COSTLY)
    for item in items:
        found += made("gold", item, [f"We see that $x = 3$.\nSo it is $\\boxed{{{item.target}}}$."])
        found += made("paraphrase", item, _paraphrases(item.target))
        found += made("near_miss", item, _near(item.target))
    for item in items[:GUESSED]:
        found += made("empty", item, EMPTY) + made("garbage", item, garbage(item))
        found += made("adversarial", item, adversarial(item))
    for item, other in others(items, lambda a, b: as_text(spelled(a.target)) == as_text(spelled(b.target))):
        found += made("other", item, [f"\\boxed{{{other.target}}}"])
    return found
