"""Cases for TheoremQA: integers, floats, lists, truth values and options after "The answer is"."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from gldbench.schema import Item, Task
from gldbench.selftest.cases import COSTLY, EMPTY, Case, adversarial, garbage, made, others


def written(item: Item) -> str:
    """The gold answer as text."""
    return str(item.record["Answer"])


def _number(gold: float) -> list[str]:
    exact = Fraction(str(gold))
    found = [
        f"The answer is: {gold}",
        f"The answer is $\\frac{{{exact.numerator}}}{{{exact.denominator}}}$.",
        f"The answer is {exact.numerator}/{exact.denominator}",
        f"The answer is $x \\approx {gold}$.",
        f"The answer is ${gold} \\text{{ m}}$.",
        f"The answer is {gold} meters per second.",
        f"The answer is $\\frac{{{2 * exact.numerator}}}{{{2 * exact.denominator}}}$",
        f"\\boxed{{{gold}}}",
        f"**Answer:** {gold}",
        f"{gold}",
        f"so $y = {gold}$",
        f"The answer is {float(gold):.6e}",
        "The answer is {} \\times 10^{{{}}}".format(*f"{float(gold):.6e}".split("e")),
    ]
    if isinstance(gold, int) and gold >= 0:
        found += [f"The answer is {gold:,}.", f"The answer is \\${gold}.00", f"The answer is $\\sqrt{{{gold * gold}}}$"]
    if isinstance(gold, float) and abs(gold) < 1:
        found += [f"The answer is {gold * 100:.8g}%", f"The answer is {gold * 100:.8g}\\%."]
    return found


def _list(gold: Sequence[float]) -> list[str]:
    joined, rows = ", ".join(map(str, gold)), " \\\\ ".join(map(str, gold))
    fractions = ", ".join(f"\\frac{{{Fraction(str(g)).numerator}}}{{{Fraction(str(g)).denominator}}}" for g in gold)
    return [
        f"The answer is ({joined}).",
        f"The answer is ${joined}$",
        f"The answer is $[{fractions}]$.",
        f"\\boxed{{[{joined}]}}",
        f"The answer is \\begin{{pmatrix}} {rows} \\end{{pmatrix}}",
        "The answer is " + ", ".join(f"x_{place} = {value}" for place, value in enumerate(gold)),
    ]


def _bool(gold: bool) -> list[str]:
    word, other = ("yes", "False") if gold else ("no", "True")
    return [
        f"The answer is {str(gold).lower()}.",
        f"The answer is {word}.",
        f"\\boxed{{\\text{{{gold}}}}}",
        f"**Answer:** {gold}",
        f"{gold}",
        f"At first it looks {other}. The answer is {gold}.",
        f"The answer is '{gold}'.",
    ]


def _option(gold: str) -> list[str]:
    letter = gold[1]
    forms = ("The answer is {}.", "The answer is ({}) the second one.", "\\boxed{{{}}}", "({})", "**{}**", "'{}'")
    return [form.format(name) for form in forms for name in (letter, letter.upper())]


def paraphrases(gold: Any) -> list[str]:
    """The gold answer in other forms."""
    if isinstance(gold, bool):
        return _bool(gold)
    if isinstance(gold, str):
        return _option(gold)
    return _list(gold) if isinstance(gold, list) else _number(gold)


def wrong(gold: Any) -> str:
    """A wrong answer of the same form."""
    if isinstance(gold, bool):
        return str(not gold)
    if isinstance(gold, str):
        return "(a)" if gold != "(a)" else "(b)"
    if isinstance(gold, list):
        return json.dumps([*gold[:-1], gold[-1] * 10 + 1])
    return str(gold * 10 + 1)


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """The gold answer in several forms of its type, and answers outside the tolerance."""
    found = made("adversarial", items[0], COSTLY)
    for item in items:
        gold, other = item.record["Answer"], wrong(item.record["Answer"])
        found += made("gold", item, [f"We use the theorem.\nThe answer is {written(item)}"])
        found += made("paraphrase", item, paraphrases(gold))
        found += made(
            "near_miss",
            item,
            [
                f"The answer is {other}",
                f"{written(item)} is what the reasoning gives, but the answer is {other}.",
                f"The answer is {written(item)}. No, the answer is {other}.",
                f"\\boxed{{{other}}}",
            ],
        )
        if isinstance(gold, list):
            found += made("near_miss", item, [f"The answer is {json.dumps([*gold, 77])}"])
        found += made("empty", item, EMPTY) + made("garbage", item, garbage(item))
        found += made("adversarial", item, adversarial(item))
    for item, other_item in others(items, lambda a, b: not _apart(a.record["Answer"], b.record["Answer"])):
        found += made("other", item, [f"The answer is {written(other_item)}"])
    return found


def _apart(a: Any, b: Any) -> bool:
    """Whether no tolerance makes the two answers equal."""
    if isinstance(a, int | float) and isinstance(b, int | float) and type(a) is not bool and type(b) is not bool:
        return abs(a - b) > 0.1 * abs(a)
    return a != b and type(a) is type(b)
