"""Makes the six disjoint sets of the embedded world, and the training samples drawn from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random

from gldbench.worlds.families import FAMILIES, Family, Instance
from gldfusion.errors import InputError, require_known
from gldfusion.files import hash_json

TRAINING_SETS = ("source", "pivot", "fusion")
SETS = ("test", "harder", "validation", "fusion", "pivot", "source")
"""in the order of drawing: the sets for measuring come first, so the size of a training set does not change them"""
DIFFICULTY = {name: 2 if name == "harder" else 1 for name in SETS}
"""difficulty of the instances of each set"""
SPACE_FACTOR = 50
"""the space of a family must be at least this many times larger than its three training sets together"""
_TRIES_PER_INSTANCE = 100


@dataclass(frozen=True)
class Example:
    """A training example: the prompt of `instance` with a response that may be wrong."""

    instance: Instance
    response: str
    wrong: bool


def make_sets(
    world_seed: int, sizes: Mapping[str, int], families: Iterable[str] = tuple(FAMILIES)
) -> dict[str, list[Instance]]:
    """Makes the six sets. No two of their instances share a canonical form.

    Args:
        world_seed: seed of the draws. Equal arguments give equal sets on every machine.
        sizes: set -> number of instances of every family.
        families: names of the families.

    Returns:
        set -> its instances, grouped by family.

    Raises:
        InputError: a set or family is unknown, or a family has a space of less than 50 times its training sets.
    """
    for name in sizes:
        require_known("set", name, SETS)
    sets: dict[str, list[Instance]] = {name: [] for name in SETS}
    for family_name in families:
        require_known("task family", family_name, FAMILIES)
        family = FAMILIES[family_name]
        _require_space(family, sum(sizes.get(name, 0) for name in TRAINING_SETS))
        seen: set[str] = set()
        for name in SETS:
            sets[name] += _draw(family, name, sizes.get(name, 0), world_seed, seen)
    return sets


def fingerprint(families: Iterable[str] = tuple(FAMILIES)) -> str:
    """A hash that changes when a generator of these families changes. The folder name of a world contains it."""
    sample = make_sets(0, {"test": 20, "harder": 20}, families)
    return hash_json([asdict(instance) for name in ("test", "harder") for instance in sample[name]])


def _require_space(family: Family, wanted: int) -> None:
    if family.space < SPACE_FACTOR * wanted:
        raise InputError(
            f"{family.name}: {wanted} training instances are too many for its space of {family.space} problems\n"
            f"the space must be {SPACE_FACTOR} times larger: set at most {family.space // SPACE_FACTOR} instances "
            f"({', '.join(TRAINING_SETS)} together)"
        )


def _draw(family: Family, name: str, size: int, world_seed: int, seen: set[str]) -> list[Instance]:
    """Draws `size` instances with canonical forms that are not in `seen`, and adds their forms to `seen`."""
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
            f"{family.name}: found only {len(drawn)} distinct instances for the set {name}, expected {size}\n"
            f"set a smaller size, or extend the generator of the family"
        )
    return drawn


def by_family(instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    """Groups the instances by family. Families and instances keep their order."""
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(instance.family, []).append(instance)
    return groups


def noisy_labels(instances: Sequence[Instance], share: float, seed: int) -> list[Example]:
    """Gives every instance a response. In each family, round(share * n) of the n responses are wrong.

    A wrong response is the response (rationale and answer) of another instance of the same family with a different
    answer.

    Args:
        instances: the instances.
        share: share of wrong responses in [0, 1].
        seed: seed of the draws.

    Returns:
        One example for each instance, in the same order.

    Raises:
        InputError: the share is outside [0, 1], or no other instance of a family has a different answer.
    """
    if not 0 <= share <= 1:
        raise InputError(f"expected a share of wrong labels between 0 and 1, got {share}")
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
        f"{instance.family}: no instance has an answer that would be wrong for {instance.id or instance.prompt}\n"
        f"use more instances of the family, or no wrong labels"
    )


def limited(instances: Iterable[Instance], parts: Mapping[str, Sequence[str]]) -> list[Instance]:
    """The instances that belong to some parts of their families.

    Args:
        instances: the instances.
        parts: family -> names of its parts. Families that are not named keep all of their instances.
    """
    kept = []
    for instance in instances:
        part = FAMILIES[instance.family].part
        if instance.family not in parts or (part is not None and part(instance) in parts[instance.family]):
            kept.append(instance)
    return kept


def mixture(
    instances: Sequence[Instance],
    own: Sequence[str],
    others: Sequence[str],
    *,
    count: int,
    seed: int,
    share_own: float = 0.7,
) -> list[Instance]:
    """Draws the training sample of a model: mainly instances of its own families, the rest of other families.

    Instances are drawn without replacement, in equal numbers (up to 1) from each own family and from each other family,
    and then shuffled.

    Args:
        instances: the instances to draw from.
        own: names of the model's own families.
        others: names of the other families.
        count: size of the sample.
        seed: seed of the draws.
        share_own: share of the sample that comes from the own families.

    Raises:
        InputError: a family has too few instances, or instances are needed from `own` or `others`, but it is empty.
    """
    groups = by_family(instances)
    random = Random(f"mixture {seed}")
    from_own = round(share_own * count)
    drawn: list[Instance] = []
    for families, wanted in ((own, from_own), (others, count - from_own)):
        if wanted and not families:
            raise InputError(f"the sample needs {wanted} of {count} instances from a list of families that is empty")
        for place, name in enumerate(families):
            quota = wanted // len(families) + (place < wanted % len(families))
            available = groups.get(name, [])
            if quota > len(available):
                raise InputError(
                    f"{name}: a sample of {count} needs {quota} instances of the family, the set has {len(available)}\n"
                    "make the set larger, or the sample smaller"
                )
            drawn += random.sample(available, quota)
    random.shuffle(drawn)
    return drawn
