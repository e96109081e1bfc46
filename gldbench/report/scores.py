"""Turns rows into matrices of scores, and selects the items, seeds and families that can be compared."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gldbench.report import names
from gldbench.schema import Row
from gldfusion.errors import InputError

SUITE = "world"
METRIC = "exact_match"
HEADLINE = ("lm_eval", "answer")
"""grader and filter whose rows count if a run has several"""

Subject = tuple[str, int, int]
"""(method, world seed, seed)"""


@dataclass(frozen=True)
class Scores:
    """0/1 scores of one set ("test"), on the items for which every method has a score with every seed."""

    worlds: tuple[int, ...]
    """seeds of the worlds"""
    seeds: dict[str, dict[int, tuple[int, ...]]]
    """method -> world -> its seeds there; methods are in their fixed order"""
    matrices: dict[str, dict[str, dict[int, np.ndarray]]]
    """family -> method -> world -> array [seeds, items]; the items of a family are the same for all methods"""
    left_out: dict[str, int]
    """family -> number of items that are left out because some method has no score for them"""
    incomplete: tuple[str, ...]
    """"METHOD seed N" of each checkpoint that is left out because it has no rows in some family"""

    @property
    def families(self) -> tuple[str, ...]:
        """The families that have items to compare in every world, in alphabetical order."""
        return tuple(self.matrices)

    def within(self, worlds: Sequence[int]) -> Scores:
        """The scores in some of the worlds. A method that has none there is left out."""
        seeds = {m: {w: own[w] for w in worlds if w in own} for m, own in self.seeds.items()}
        seeds = {m: own for m, own in seeds.items() if own}
        matrices = {
            family: {m: {w: by_method[m][w] for w in own} for m, own in seeds.items()}
            for family, by_method in self.matrices.items()
        }
        return replace(self, worlds=tuple(worlds), seeds=seeds, matrices=matrices)


def check_rows(rows: Sequence[Row]) -> None:
    """Checks that one report may compare all rows.

    Raises:
        InputError: there are no rows of the world, or rows of several environments or versions of a task.
    """
    if not any(row.suite == SUITE for row in rows):
        found = ", ".join(sorted({row.suite for row in rows})) or "none"
        raise InputError(f"expected rows of suite {SUITE}, found suites: {found}\nfinish the run first: gldbench run")
    environments = {row.env_id for row in rows}
    if len(environments) > 1:
        raise InputError(
            f"expected rows of one environment, got {', '.join(sorted(environments))}\n"
            "one report cannot mix machines or package versions: use one run folder for each"
        )
    versions: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        versions[row.task].add(row.task_version)
    mixed = [f"{task} {sorted(found)}" for task, found in versions.items() if len(found) > 1]
    if mixed:
        raise InputError(f"expected one version of each task, got {'; '.join(mixed)}\nevaluate again with one version")


def headline_rows(rows: Sequence[Row], variant: str) -> list[Row]:
    """The rows of the world's set `variant` ("test", "harder") that hold the headline score.

    Raises:
        InputError: an item was graded twice, or a score is neither 0 nor 1.
    """
    chosen = [row for row in rows if (row.suite, row.variant, row.metric) == (SUITE, variant, METRIC)]
    if len({(row.grader, row.filter) for row in chosen}) > 1:
        chosen = [row for row in chosen if (row.grader, row.filter) == HEADLINE]
    counts = Counter((row.method, row.world_seed, row.seed, row.task, row.item) for row in chosen)
    doubled = next((key for key, count in counts.items() if count > 1), None)
    if doubled:
        raise InputError("two rows for one item: method {}, world {}, seed {}, task {}, item {}".format(*doubled))
    wrong = next((row for row in chosen if row.value not in (0, 1, None)), None)
    if wrong:
        raise InputError(f"expected {METRIC} to be 0 or 1, got {wrong.value} in {wrong.task}, item {wrong.item}")
    return chosen


def mean_scores(rows: Sequence[Row], variant: str, chance: Mapping[str, float]) -> dict[tuple[str, int, int], float]:
    """The chance-corrected score of each checkpoint, as the mean over families with equal weight.

    Args:
        rows: rows of a run.
        variant: the set whose scores count, such as "validation".
        chance: chance level of each task.

    Returns:
        (method, world seed, seed) -> score. An item without a score counts as wrong.
    """
    values: dict[tuple[str, int, int], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in headline_rows(rows, variant):
        values[row.method, row.world_seed, row.seed][row.task].append(row.value or 0.0)
    return {
        subject: float(np.mean([(np.mean(own) - chance[task]) / (1 - chance[task]) for task, own in tasks.items()]))
        for subject, tasks in values.items()
    }


def read_scores(rows: Sequence[Row], variant: str) -> Scores:
    """The scores on the set `variant`. A family is absent if in some world no item has a score of every method."""
    values: dict[str, dict[Subject, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    items: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in headline_rows(rows, variant):
        family = names.family_of(row.task)
        items[family, row.world_seed].add(row.item)
        scored = values[family][row.method, row.world_seed, row.seed]
        if row.value is not None:
            scored[row.item] = row.value
    subjects = {subject for own in values.values() for subject in own}
    complete = {subject for subject in subjects if all(subject in own for own in values.values())}
    worlds = tuple(sorted({world for _, world, _ in complete}))
    methods = names.in_fixed_order({method for method, _, _ in complete})
    seeds = {
        method: {
            world: tuple(sorted(seed for name, place, seed in complete if (name, place) == (method, world)))
            for world in worlds
            if any((name, place) == (method, world) for name, place, _ in complete)
        }
        for method in methods
    }
    matrices, left_out = {}, {}
    for family in sorted(values):
        own = values[family]
        common = {
            world: sorted(
                item for item in items[family, world] if all(item in own[s] for s in complete if s[1] == world)
            )
            for world in worlds
        }
        left_out[family] = sum(len(items[family, world]) - len(common[world]) for world in worlds)
        if all(common.values()):
            matrices[family] = {
                method: {
                    world: np.array([[own[method, world, seed][item] for item in common[world]] for seed in numbers])
                    for world, numbers in by_world.items()
                }
                for method, by_world in seeds.items()
            }
    several = len(worlds) > 1
    incomplete = tuple(
        f"{method} seed {seed}" + (f" of world {world}" if several else "")
        for method, world, seed in sorted(subjects - complete)
    )
    return Scores(worlds, seeds, matrices if worlds else {}, left_out, incomplete)


def with_composites(scores: Scores, declared: Mapping[str, tuple[str, ...]]) -> Scores:
    """Adds two reference methods that are made of the sources: the best source per family, and oracle routing.

    Args:
        scores: the scores of all methods.
        declared: source -> its own families. Oracle routing takes the best of all sources for a family that no source
            has among its own. Where the rows of a source are missing in a world, this world has no such references.
    """
    sources = [method for method in scores.seeds if names.is_source(method)]
    seen = [scores.seeds[source] for source in sources]
    first = {world: own for world, own in seen[0].items() if all(one.get(world) == own for one in seen)} if seen else {}
    if not first:
        return scores
    matrices = {}
    for family, own in scores.matrices.items():
        best, oracle = {}, {}
        routed = [source for source in sources if family in declared[source]] or sources
        for world in first:
            means = {source: float(own[source][world].mean()) for source in sources}
            best[world] = own[max(sources, key=means.__getitem__)][world]
            oracle[world] = own[max(routed, key=means.__getitem__)][world]
        matrices[family] = own | {names.BEST_SOURCES: best, names.ORACLE: oracle}
    seeds = scores.seeds | dict.fromkeys((names.BEST_SOURCES, names.ORACLE), first)
    return replace(scores, seeds={name: seeds[name] for name in names.in_fixed_order(seeds)}, matrices=matrices)


def chance_levels(chance: Mapping[str, float], families: Iterable[str]) -> dict[str, float]:
    """The chance level of each of `families`.

    Args:
        chance: chance level by family or by task.
        families: the families that need one.

    Raises:
        InputError: a family has no chance level.
    """
    known = {names.family_of(name): level for name, level in chance.items()}
    missing = [family for family in families if family not in known]
    if missing:
        raise InputError(f"no chance level for {', '.join(missing)}\nset `chance` in the task.yaml of each world task")
    return {family: known[family] for family in families}
