"""Tracking shuffled objects: who holds what after a few swaps?

Canonical form: the two holders of each swap are sorted, and so are neighbouring swaps of four different holders. The
objects keep their names: up to renaming, three holders and two swaps have only 18 problems, and every training set
would contain all of them.
Space at difficulty 1, exact: 44 * 43 * 42 ways to hold objects, 3 * 2 sequences of swaps without an undone swap, and 3
questions give 1,430,352 forms.
"""

from __future__ import annotations

from random import Random

from gldbench.worlds.families.family import Family, Instance, check_exact, pick, same_answer

NAME = "tracking_shuffled_objects"
HOLDERS = (3, 4)
SWAPS = (2, 4)
NAMES = "ABCD"
OBJECTS = (
    *("axe", "bag", "bat", "bed", "bib", "bow", "box", "bun", "can", "cap", "cup", "dart", "disk", "doll", "drum"),
    *("fan", "flag", "fork", "gem", "hat", "jar", "key", "kite", "lamp", "log", "map", "mat", "mug", "nut", "oar"),
    *("pan", "peg", "pen", "pin", "pot", "rod", "rug", "soap", "tie", "toy", "tub", "vase", "wig", "yarn"),
)


def _swaps(random: Random, names: str, count: int) -> list[tuple[str, str]]:
    """Draws `count` swaps. No swap undoes the one before it."""
    swaps: list[tuple[str, str]] = []
    while len(swaps) < count:
        first, second = random.sample(names, 2)
        if not swaps or {first, second} != set(swaps[-1]):
            swaps.append((first, second))
    return swaps


def _canonical_swaps(swaps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first of all orders that are reachable by exchanging neighbouring swaps of four different holders."""
    left = [(min(swap), max(swap)) for swap in swaps]
    ordered = []
    while left:
        # a swap can move to the front if the swaps before it have no holder in common with it
        free = [i for i, swap in enumerate(left) if all(set(swap).isdisjoint(earlier) for earlier in left[:i])]
        ordered.append(left.pop(min(free, key=left.__getitem__)))
    return ordered


def generate(random: Random, difficulty: int) -> Instance:
    """Draws three holders and two swaps (difficulty 1), or four and four.

    The rationale lists what everyone holds after each swap.
    """
    names = NAMES[: pick(HOLDERS, difficulty)]
    held = dict(zip(names, random.sample(OBJECTS, len(names)), strict=True))
    start = dict(held)
    swaps = _swaps(random, names, pick(SWAPS, difficulty))
    states = []
    for first, second in swaps:
        held[first], held[second] = held[second], held[first]
        states.append(" ".join(held.values()))
    asked = random.choice(names)
    opening = ", ".join(f"{name} {thing}" for name, thing in start.items())
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt=f"{opening}. {', '.join(f'{first}-{second}' for first, second in swaps)}. {asked}?",
        rationale=", ".join(states),
        answer=held[asked],
        canonical=f"{' '.join(start.values())} {_canonical_swaps(swaps)} {asked}",
    )


FAMILY = Family(
    name=NAME,
    title="Tracking shuffled objects: who holds what after swaps",
    citation="after BIG-Bench Hard tracking_shuffled_objects_three_objects (Suzgun et al., 2022, arXiv:2210.09261)",
    chance=1 / 3,  # one of the three objects that the prompt names
    space=1_300_000,
    generate=generate,
    check=check_exact,
    agrees=same_answer,
)
