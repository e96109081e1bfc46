"""Multistep arithmetic: nested sums, differences and products, as in ((((7-5)*3)+2)-8), with every value in 0..9.

Canonical form: the operations from the innermost to the outermost. Every run of sums and differences is sorted, and so
is every run of products.
Space at difficulty 1: nine operands, with about ten possible operations after each value, give about 10^8 spellings.
"""

from __future__ import annotations

import itertools
from random import Random

from gldbench.worlds.families.family import Family, Instance, check_exact, pick, same_answer

NAME = "multistep_arithmetic"
OPERANDS = (9, 13)
_RESULTS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
# value -> the operations that lead to a value in 0..9
_MOVES = {
    value: [
        (operator, operand)
        for operator, operands in (("+", range(1, 10)), ("-", range(1, 10)), ("*", (2, 3)))
        for operand in operands
        if 0 <= _RESULTS[operator](value, operand) <= 9
    ]
    for value in range(10)
}


def generate(random: Random, difficulty: int) -> Instance:
    """Draws nine operands (difficulty 1) or thirteen. The rationale lists every operation with its value."""
    value = random.randint(1, 9)
    start, operations, worked = value, [], [str(value)]
    for _ in range(pick(OPERANDS, difficulty) - 1):
        operator, operand = random.choice(_MOVES[value])
        value = _RESULTS[operator](value, operand)
        operations.append((operator, operand))
        worked.append(f"{operator}{operand}={value}")
    steps = ")".join(f"{operator}{operand}" for operator, operand in operations)
    runs = itertools.groupby(operations, key=lambda operation: operation[0] == "*")
    canonical = "".join(f"{operator}{operand}" for _, run in runs for operator, operand in sorted(run))
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt=f"{'(' * (len(operations) - 1)}{start}{steps}=",
        rationale="".join(worked),
        answer=str(value),
        canonical=f"{start}{canonical}",
    )


FAMILY = Family(
    name=NAME,
    title="Multistep arithmetic: nested sums, differences and products",
    citation="after BIG-Bench Hard multistep_arithmetic_two (Suzgun et al., 2022, arXiv:2210.09261)",
    chance=0.11,  # share of the most common value
    space=1_200_000,
    generate=generate,
    check=check_exact,
    agrees=same_answer,
)
