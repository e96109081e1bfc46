"""Object counting: how many things of one category does a list contain?

Canonical form: the sorted items, and the category in question.
Space at difficulty 1, exact: five of 16 nouns, one to three of them from the four of the category in question, give
4 * (4 * 495 + 6 * 220 + 4 * 66) = 14,256 sets. Every noun has a count from 2 to 4. This gives 14,256 * 3^5 = 3,464,208
forms, which are not equally likely.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random

from gldbench.worlds.families.family import Family, Instance, check_exact, pick, same_answer

NAME = "object_counting"
ITEMS = (5, 7)
COUNTS = (2, 3, 4)
CATEGORIES = {
    "animals": ("cat", "cow", "dog", "pig"),
    "fruits": ("apple", "kiwi", "pear", "plum"),
    "tools": ("drill", "nail", "rake", "saw"),
    "clothes": ("belt", "coat", "shoe", "sock"),
}
NOUNS = tuple(noun for nouns in CATEGORIES.values() for noun in nouns)


def generate(random: Random, difficulty: int) -> Instance:
    """Draws five nouns (difficulty 1) or seven. One to three of them belong to the category in question.

    The rationale repeats the nouns, each with the count of the category so far.
    """
    asked = random.choice(tuple(CATEGORIES))
    count = pick(ITEMS, difficulty)
    matching = random.sample(CATEGORIES[asked], random.randint(1, 3))
    others = random.sample([noun for noun in NOUNS if noun not in CATEGORIES[asked]], count - len(matching))
    items = [(noun, random.choice(COUNTS)) for noun in random.sample(matching + others, count)]
    so_far = list(accumulate(number if noun in matching else 0 for noun, number in items))
    listed = ", ".join(f"{number} {noun}s" for noun, number in items)
    return Instance(
        family=NAME,
        difficulty=difficulty,
        prompt=f"{asked} in {listed}?",
        rationale=" ".join(f"{noun}s {total}" for (noun, _), total in zip(items, so_far, strict=True)),
        answer=str(so_far[-1]),
        canonical=f"{asked} {sorted(items)}",
    )


FAMILY = Family(
    name=NAME,
    title="Object counting: how many of one category",
    citation="after BIG-Bench Hard object_counting (Suzgun et al., 2022, arXiv:2210.09261)",
    chance=0.15,  # share of the most common count
    space=1_500_000,
    generate=generate,
    check=check_exact,
    agrees=same_answer,
    parts=tuple(CATEGORIES),
    part=lambda instance: instance.prompt.split()[0],  # the category in question
)
