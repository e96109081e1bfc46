"""The six disjoint sets of the embedded world, and the samples that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random

from gldbench.worlds.families import FAMILIES, Family, Instance
from gldfusion.errors import InputError, did_you_mean
from gldfusion.files import hash_json

TRAINING_SETS = ("source", "pivot", "fusion")
SETS = ("test", "harder", "validation", "fusion", "pivot", "source")
"""In the order of drawing, so that a larger training set leaves the sets that are measured on as they are."""
DIFFICULTY = {name: 2 if name == "harder" else 1 for name in SETS}
SPACE_FACTOR = 50
"""A family must have this many times more instances than its three training sets together hold."""
_TRIES_PER_INSTANCE = 100


@dataclass(frozen=True)
class Example:
    """A training example: the prompt of `instance` with a response that need not be right."""

    instance: Instance
    response: str
    wrong: bool


def make_sets(
    world_seed: int, sizes: Mapping[str, int], families: Iterable[str] = tuple(FAMILIES)
) -> dict[str, list[Instance]]:
    """The six sets, each with `sizes[set]` instances of every family, grouped by family.

    No two instances of all six sets share a canonical form. Only `world_seed` changes what is drawn: the same
    arguments give the same sets on every machine. Raises InputError for an unknown set or family, and for a family
    whose space is less than 50 times its training sets.
    """
    for name in sizes:
        if name not in SETS:
            raise InputError(f'no set "{name}"{did_you_mean(name, SETS)}\nthe sets are {", ".join(SETS)}')
    sets: dict[str, list[Instance]] = {name: [] for name in SETS}
    for family_name in families:
        if family_name not in FAMILIES:
            raise InputError(
                f'no task family "{family_name}"{did_you_mean(family_name, FAMILIES)}\n'
                f"the families are {', '.join(FAMILIES)}"
            )
        family = FAMILIES[family_name]
        _require_space(family, sum(sizes.get(name, 0) for name in TRAINING_SETS))
        seen: set[str] = set()
        for name in SETS:
            sets[name] += _draw(family, name, sizes.get(name, 0), world_seed, seen)
    return sets


def fingerprint() -> str:
    """A hash that changes whenever a generator does: a stored world names by it the generators that made it."""
    sample = make_sets(0, {"test": 20, "harder": 20})
    return hash_json([asdict(instance) for name in ("test", "harder") for instance in sample[name]])


def _require_space(family: Family, wanted: int) -> None:
    if family.space < SPACE_FACTOR * wanted:
        raise InputError(
            f"{family.name}: {wanted} training instances asked for, of a space of {family.space}\n"
            f"the space must be {SPACE_FACTOR} times larger: ask for {family.space // SPACE_FACTOR} at most "
            f"({', '.join(TRAINING_SETS)} together)"
        )


def _draw(family: Family, name: str, size: int, world_seed: int, seen: set[str]) -> list[Instance]:
    """`size` instances with canonical forms outside `seen`, which grows by theirs."""
    random = Random(f"world {world_seed}/{family.name}/{name}")
    drawn: list[Instance] = []
    for _ in range(size * _TRIES_PER_INSTANCE):
        if len(drawn) == size:
            break
        instance = family.generate(random, DIFFICULTY[name])
        if instance.canonical not in seen:
            seen.add(instance.canonical)
            drawn.append(replace(instance, id=f"{family.name}/{name}/{len(drawn)}"))
    if len(drawn) < size:
        raise InputError(
            f"{family.name}: only {len(drawn)} distinct instances found for the set {name}, {size} asked for\n"
            f"ask for fewer, or widen the family's generator"
        )
    return drawn


def by_family(instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    """The instances grouped by family, both in the order given."""
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(instance.family, []).append(instance)
    return groups


def noisy_labels(instances: Sequence[Instance], share: float, seed: int) -> list[Example]:
    """The instances with their responses, of which round(share * n) per family are wrong, in the order given.

    A wrong response is the whole response (rationale and answer) of another instance of the same family, whose answer
    is wrong here. Raises InputError for a share outside [0, 1], and where no other instance's answer is wrong.
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share of wrong labels must lie between 0 and 1, got {share}")
    positions: dict[str, list[int]] = {}
    for position, instance in enumerate(instances):
        positions.setdefault(instance.family, []).append(position)
    wrong: dict[int, str] = {}
    for family_name, places in positions.items():
        random = Random(f"noise {seed}/{family_name}")
        order = random.sample(places, len(places))
        for place in random.sample(places, round(share * len(places))):
            start = random.randrange(len(order))
            donors = (instances[donor] for donor in (*order[start:], *order[:start]))
            wrong[place] = _wrong_response(instances[place], donors)
    return [
        Example(instance, wrong.get(position, instance.response), position in wrong)
        for position, instance in enumerate(instances)
    ]


def _wrong_response(instance: Instance, donors: Iterable[Instance]) -> str:
    family = FAMILIES[instance.family]
    for donor in donors:
        if not family.agrees(instance, donor):
            return donor.response
    raise InputError(
        f"{instance.family}: no instance given has an answer that is wrong for {instance.id or instance.prompt}\n"
        f"give more instances of the family, or a share of 0"
    )


def mixture(
    instances: Sequence[Instance],
    own: Sequence[str],
    others: Sequence[str],
    *,
    count: int,
    seed: int,
    share_own: float = 0.7,
) -> list[Instance]:
    """A source's training sample: round(share_own * count) instances of its own families, the rest of the others.

    Drawn without replacement, as evenly as possible over the families of each side, shuffled. Raises InputError where
    a family has too few instances, or a side has a share but no family.
    """
    groups = by_family(instances)
    random = Random(f"mixture {seed}")
    from_own = round(share_own * count)
    drawn: list[Instance] = []
    for families, wanted in ((own, from_own), (others, count - from_own)):
        if wanted and not families:
            raise InputError(f"a mixture of {count} needs {wanted} instances of a side that names no family")
        for place, name in enumerate(families):
            quota = wanted // len(families) + (place < wanted % len(families))
            available = groups.get(name, [])
            if quota > len(available):
                raise InputError(
                    f"{name}: the mixture needs {quota} instances, the set has {len(available)}\n"
                    f"make the set larger, or the mixture smaller than {count}"
                )
            drawn += random.sample(available, quota)
    random.shuffle(drawn)
    return drawn
