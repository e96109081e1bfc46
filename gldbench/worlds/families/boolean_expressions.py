"""Boolean expressions: groups of truth values in brackets, joined by and, xor and or.

"and" binds tightest, "or" loosest.

Canonical form: an "or" of "xor" of "and", sorted on all levels, for every group and the whole. Nothing is evaluated.
Space at difficulty 1: each of four groups of three values has 2^3 * 3^2 = 72 spellings, and there are 3^3 ways to join
them. Sorting leaves a few million forms of these 7 * 10^8 spellings. They are not equally likely.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from gldbench.worlds.families.family import Family, Instance, check_exact, pick, same_answer

NAME = "boolean_expressions"
GROUPS = (4, 5)
OPERATORS = ("and", "xor", "or")
"""the tightest first, in the order of Python's &, ^ and |"""


class _Operand(NamedTuple):
    text: str
    canonical: str
    value: bool


def _join(operands: list[_Operand], operators: list[str]) -> _Operand:
    """Joins the operands with the operators between them."""
    text = operands[0].text
    for operator, operand in zip(operators, operands[1:], strict=True):
        text += f" {operator} {operand.text}"
    left = list(operands)
    for level in OPERATORS:
        merged, rest = [[left[0]]], []
        for operator, operand in zip(operators, left[1:], strict=True):
            if operator == level:
                merged[-1].append(operand)
            else:
                merged.append([operand])
                rest.append(operator)
        left, operators = [_combine(level, group) for group in merged], rest
    return left[0]._replace(text=text)


def _combine(operator: str, operands: list[_Operand]) -> _Operand:
    if len(operands) == 1:
        return operands[0]
    values = [operand.value for operand in operands]
    value = all(values) if operator == "and" else any(values) if operator == "or" else sum(values) % 2 == 1
    return _Operand("", f" {operator} ".join(sorted(operand.canonical for operand in operands)), value)


def _operators(random: Random, count: int) -> list[str]:
    return [random.choice(OPERATORS) for _ in range(count)]


def _group(random: Random) -> _Operand:
    literals = [_Operand(text, text, text == "T") for text in random.choices("FT", k=3)]
    inner = _join(literals, _operators(random, 2))
    return inner._replace(text=f"({inner.text})", canonical=f"({inner.canonical})")


def generate(random: Random, difficulty: int) -> Instance:
    """Draws four groups of three values (difficulty 1) or five. T and F are equally likely.

    The rationale is the expression with each group replaced by its value.
    """
    wanted = random.random() < 0.5
    while True:
        groups = [_group(random) for _ in range(pick(GROUPS, difficulty))]
        operators = _operators(random, len(groups) - 1)
        whole = _join(groups, operators)
        if whole.value == wanted:
            break
    evaluated = _join([_Operand("FT"[group.value], "", group.value) for group in groups], operators).text
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt=f"{whole.text}=",
        rationale=evaluated,
        answer="FT"[wanted],
        canonical=whole.canonical,
    )


FAMILY = Family(
    name=NAME,
    title="Boolean expressions: truth values under and, xor, or",
    citation="after BIG-Bench Hard boolean_expressions (Suzgun et al., 2022, arXiv:2210.09261)",
    chance=0.5,
    space=800_000,
    generate=generate,
    check=check_exact,
    agrees=same_answer,
)
