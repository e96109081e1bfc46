"""The six sets of the world: disjoint, exact in size, the same each time; label noise and mixtures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gldbench.worlds import sets as sets_module
from gldbench.worlds.families import FAMILIES, Instance
from gldbench.worlds.sets import DIFFICULTY, SETS, fingerprint, limited, make_sets, mixture, noisy_labels
from gldfusion.errors import InputError

SIZES = {"source": 60, "pivot": 30, "fusion": 40, "validation": 10, "test": 12, "harder": 8}
QUICK = ("multistep_arithmetic", "dyck_languages", "object_counting")
small = st.integers(0, 12)


def overlaps(sets: dict[str, list[Instance]]) -> list[str]:
    """Canonical forms that occur twice, within a set or between two."""
    forms = Counter((i.family, i.canonical) for instances in sets.values() for i in instances)
    return [form for (_, form), count in forms.items() if count > 1]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), sizes=st.fixed_dictionaries(dict.fromkeys(SETS, small)))
def test_sets_are_disjoint_and_of_the_sizes_asked_for(seed: int, sizes: dict[str, int]) -> None:
    sets = make_sets(seed, sizes)
    assert not overlaps(sets)
    for name in SETS:
        assert Counter(i.family for i in sets[name]) == Counter(dict.fromkeys(FAMILIES, sizes[name]))
        assert all(i.difficulty == DIFFICULTY[name] for i in sets[name])
        assert [i.id for i in sets[name]] == [f"{f}/{name}/{k}" for f in FAMILIES for k in range(sizes[name])]


def test_overlaps_are_removed_where_draws_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """With but 200 different problems, draws repeat all the time; without `seen` the check above would fail."""
    family = FAMILIES["object_counting"]
    monkeypatch.setitem(FAMILIES, "object_counting", replace(family, generate=_two_hundred, space=10**9))
    assert not overlaps(make_sets(0, {"source": 150, "test": 50}, ["object_counting"]))
    planted = {name: sets_module._draw(FAMILIES["object_counting"], name, 50, 0, set()) for name in ("source", "test")}
    assert overlaps(planted)
    with pytest.raises(InputError, match="only 200 distinct"):
        make_sets(0, {"source": 201}, ["object_counting"])


def _two_hundred(random: Random, difficulty: int) -> Instance:
    number = str(random.randrange(200))
    return Instance("object_counting", difficulty, number, "", number, number)


def test_sets_depend_on_the_world_seed_alone() -> None:
    assert make_sets(3, SIZES, QUICK) == make_sets(3, SIZES, QUICK)
    assert make_sets(3, SIZES, QUICK)["test"] != make_sets(4, SIZES, QUICK)["test"]
    alone = make_sets(3, SIZES, [QUICK[1]])["test"]
    assert alone == [i for i in make_sets(3, SIZES, QUICK)["test"] if i.family == QUICK[1]]


def test_measured_sets_do_not_change_with_training_sizes() -> None:
    small_world, large_world = make_sets(0, SIZES), make_sets(0, {**SIZES, "source": 300, "pivot": 100, "fusion": 90})
    for name in ("test", "harder", "validation"):
        assert small_world[name] == large_world[name]


def test_generators_are_the_ones_that_the_committed_reports_were_made_with() -> None:
    """Fails when a change to a generator changes the worlds; then the reports are to be made again, and this line."""
    assert fingerprint()[:16] == "aa358b0260f638ed"


def test_fingerprint_sees_a_changed_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    family = FAMILIES["dyck_languages"]
    monkeypatch.setitem(FAMILIES, "dyck_languages", replace(family, generate=_one_more))
    assert fingerprint() != before


def _one_more(random: Random, difficulty: int) -> Instance:
    instance = FAMILIES["object_counting"].generate(random, difficulty)
    return replace(instance, answer=instance.answer + "1")


@pytest.mark.parametrize(
    ("sizes", "families", "message"),
    [
        ({"sourse": 3}, QUICK, 'did you mean "source"'),
        ({"source": 3}, ["object_countin"], 'did you mean "object_counting"'),
        ({"source": 10**6}, QUICK, "50 times larger"),
    ],
)
def test_bad_input_is_named(sizes: dict[str, int], families: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_sets(0, sizes, families)


@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_label_noise_is_exact(share: float, seed: int) -> None:
    instances = make_sets(0, {"fusion": 25})["fusion"]
    examples = noisy_labels(instances, share, seed)
    assert [e.instance for e in examples] == instances
    wrong = Counter(e.instance.family for e in examples if e.wrong)
    assert all(wrong[family] == round(share * 25) for family in FAMILIES)
    assert examples == noisy_labels(instances, share, seed)


def test_wrong_labels_are_wrong_and_the_others_right() -> None:
    examples = noisy_labels(make_sets(1, {"fusion": 10})["fusion"], 0.5, seed=0)
    for example in examples:
        assert FAMILIES[example.instance.family].check(example.instance, example.response) != example.wrong
        assert (example.response == example.instance.response) != example.wrong


def test_label_noise_depends_on_the_seed() -> None:
    instances = make_sets(0, {"fusion": 30}, QUICK)["fusion"]
    assert noisy_labels(instances, 0.4, 0) != noisy_labels(instances, 0.4, 1)


def test_label_noise_refuses_what_it_cannot_do() -> None:
    instances = make_sets(0, {"fusion": 5}, QUICK)["fusion"]
    with pytest.raises(InputError, match="between 0 and 1"):
        noisy_labels(instances, 1.5, 0)
    with pytest.raises(InputError, match="no instance has an answer that would be wrong"):
        noisy_labels(instances[:1] * 3, 1.0, 0)


def test_every_instance_belongs_to_a_part_of_its_family() -> None:
    for family in FAMILIES.values():
        if family.part is not None:
            found = Counter(
                family.part(i) for i in make_sets(0, {"source": 200, "harder": 20}, [family.name])["source"]
            )
            assert set(found) == set(family.parts)
            assert min(found.values()) >= 10
        else:
            assert family.parts == ()


def test_limited_keeps_other_families_whole() -> None:
    source = make_sets(0, {"source": 50}, ["dyck_languages", "object_counting"])["source"]
    kept = limited(source, {"object_counting": ["animals", "tools"]})
    assert [i for i in kept if i.family == "dyck_languages"] == source[:50]
    counted = [i.prompt.split()[0] for i in kept if i.family == "object_counting"]
    assert counted == [word for i in source[50:] if (word := i.prompt.split()[0]) in ("animals", "tools")]


def test_mixture_shares() -> None:
    source = make_sets(0, {"source": 200})["source"]
    own, others = list(FAMILIES)[:2], list(FAMILIES)[2:]
    drawn = mixture(source, own, others, count=300, seed=0)
    tally = Counter(i.family for i in drawn)
    assert [tally[name] for name in own] == [105, 105]
    assert [tally[name] for name in others] == [18] * 5
    assert len({i.id for i in drawn}) == 300
    assert drawn == mixture(source, own, others, count=300, seed=0)
    assert drawn != mixture(source, own, others, count=300, seed=1)


def test_mixture_refuses_what_it_cannot_do() -> None:
    source = make_sets(0, {"source": 10}, QUICK)["source"]
    with pytest.raises(InputError, match="the set has 10"):
        mixture(source, QUICK[:1], QUICK[1:], count=100, seed=0)
    with pytest.raises(InputError, match="a list of families that is empty"):
        mixture(source, QUICK[:1], [], count=10, seed=0)
