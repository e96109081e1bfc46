"""Dyck languages: the brackets that close an unfinished sequence of four kinds of brackets.

Canonical form: the sequence with the kinds of brackets renamed in order of first appearance.
Space at difficulty 1: there are more than 10^8 forms of sequences of 14 brackets that leave two or four open.
"""

from __future__ import annotations

from random import Random

from gldbench.worlds.families.family import Family, Instance, check_exact, pick, same_answer

NAME = "dyck_languages"
LENGTHS = ((14,), (18, 20, 22))
DEPTHS = (2, 4)
OPENING, CLOSING = "([{<", ")]}>"


def generate(random: Random, difficulty: int) -> Instance:
    """Draws 14 brackets (difficulty 1) or 18 to 22, of which two or four stay open. There is no rationale."""
    length, final = random.choice(pick(LENGTHS, difficulty)), random.choice(DEPTHS)
    text, stack = "", []
    for left in range(length, 0, -1):
        # the `left` remaining brackets must lead from this depth to `final`, so some moves are forced
        may_open = len(stack) + 1 - final <= left - 1
        may_close = bool(stack) and final - (len(stack) - 1) <= left - 1
        if may_open and (not may_close or random.random() < 0.5):
            kind = random.randrange(len(OPENING))
            stack.append(kind)
            text += OPENING[kind]
        else:
            text += CLOSING[stack.pop()]
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt=f"close {text}",
        rationale="",
        answer="".join(CLOSING[kind] for kind in reversed(stack)),
        canonical=_rename(text),
    )


def _rename(text: str) -> str:
    names: dict[int, int] = {}
    renamed = ""
    for bracket in text:
        table = OPENING if bracket in OPENING else CLOSING
        kind = table.index(bracket)
        renamed += table[names.setdefault(kind, len(names))]
    return renamed


FAMILY = Family(
    name=NAME,
    title="Dyck languages: close the open brackets",
    citation="after BIG-Bench Hard dyck_languages (Suzgun et al., 2022, arXiv:2210.09261)",
    chance=0.032,  # half end with two open, of which one in 4^2 matches a constant
    space=2_500_000,
    generate=generate,
    check=check_exact,
    agrees=same_answer,
    parts=tuple(str(depth) for depth in DEPTHS),
    part=lambda instance: str(len(instance.answer)),  # the number of open brackets
)
