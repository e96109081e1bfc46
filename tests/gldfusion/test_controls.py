"""Negative controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gldfusion.controls import Control, relative_positions
from gldfusion.errors import InputError
from gldfusion.sources import Example, LiveSource, SequenceSignal

GROUPS, LENGTHS = ("sums", "lists"), (7, 12, 30)


class Speaker:
    """A source that says which text and position it was asked for: values hold 1000 * text + position."""

    name, vocabulary, vocabulary_hash, checkpoint_hash = "s", 50, "v", "c"

    def __init__(self, pool: Sequence[Example]) -> None:
        self.number = {e.key: i for i, e in enumerate(pool)}

    def length(self, example: Example) -> int:
        return LENGTHS[self.number[example.key] % len(LENGTHS)] if example.response else 0

    def starts(self, examples: Sequence[Example]) -> list[list[int]]:
        return [list(range(self.length(e))) for e in examples]

    def read(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        out = []
        for example, starts in zip(examples, self.starts(examples), strict=True):
            said = np.array([1000 * self.number[example.key] + i for i in starts], dtype=np.float32)
            two = np.repeat(said[:, None], 2, axis=1)
            out.append(SequenceSignal(two, two.astype(np.int64) % 50, said, said, said, np.array(starts)))
        return out


def pool_of(size: int, response: str = "r") -> list[Example]:
    return [Example(str(i), f"prompt {i}", response, group=GROUPS[i % len(GROUPS)]) for i in range(size)]


def test_shuffled_sources_say_nothing_about_their_text() -> None:
    """Each text gets the whole outputs of one other text of its group, at the same relative positions."""
    pool = pool_of(200)
    speaker = Speaker(pool)
    control = Control(speaker, "shuffled", pool, seed=1)
    donors = []
    for number, signal in enumerate(control.read(pool)):
        length = speaker.length(pool[number])
        assert signal.starts.tolist() == list(range(length))
        for name in signal.held[2:]:
            np.testing.assert_array_equal(getattr(signal, name), signal.values[:, 0])
        np.testing.assert_array_equal(signal.ids, signal.values.astype(np.int64) % 50)
        said = signal.values[:, 0].astype(int)
        (donor,) = set((said // 1000).tolist())
        donors.append(donor)
        assert donor != number
        assert pool[donor].group == pool[number].group
        at, other = said % 1000, speaker.length(pool[donor])
        assert (np.diff(at) >= 0).all()
        assert np.abs((at + 0.5) / other - (np.arange(length) + 0.5) / length).max() <= 0.5 / other + 1e-9
    assert len(set(donors)) > 100  # 200 draws with replacement out of 200 texts: 126 different ones are expected


def test_a_source_that_is_not_shuffled_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Control, "_shuffled", lambda self, examples: self.source.read(examples))
    with pytest.raises(AssertionError):
        test_shuffled_sources_say_nothing_about_their_text()


def test_relative_positions_of_texts_of_one_length_are_the_positions() -> None:
    assert relative_positions(5, 5).tolist() == [0, 1, 2, 3, 4]
    assert relative_positions(2, 4).tolist() == [1, 3]
    assert relative_positions(4, 2).tolist() == [0, 0, 1, 1]
    assert relative_positions(3, 1).tolist() == [0, 0, 0]
    assert relative_positions(0, 3).tolist() == []


def test_every_other_text_of_the_group_can_be_drawn() -> None:
    pool = pool_of(8)
    drawn = {
        (number, int(signal.values[0, 0]) // 1000)
        for seed in range(60)
        for number, signal in enumerate(Control(Speaker(pool), "shuffled", pool, seed).read(pool))
    }
    assert drawn == {(a, b) for a in range(8) for b in range(8) if a != b and a % 2 == b % 2}


def test_shuffling_depends_on_seed_and_text_alone() -> None:
    pool = pool_of(20)
    one, again, other = (Control(Speaker(pool), "shuffled", pool, seed) for seed in (1, 1, 2))
    batch = one.read(pool)
    alone = [again.read([e])[0] for e in reversed(pool)][::-1]
    assert all(np.array_equal(a.values, b.values) for a, b in zip(batch, alone, strict=True))
    assert not all(np.array_equal(a.values, b.values) for a, b in zip(batch, other.read(pool), strict=True))


def test_shuffling_skips_texts_without_positions() -> None:
    pool = [*pool_of(6), *(Example(f"cut {i}", f"cut {i}", "", group="sums") for i in range(40))]
    pool.append(Example("alone", "alone", "", group="cut off"))
    control = Control(Speaker(pool), "shuffled", pool, seed=1)
    lengths = [len(signal.values) for signal in control.read(pool)]
    assert lengths == [Speaker(pool).length(e) for e in pool]


def test_a_text_that_occurs_twice_is_not_its_own_donor() -> None:
    pool = [Example(str(i), f"prompt {i % 2}", "r", group="sums") for i in range(4)]
    control = Control(Speaker(pool), "shuffled", pool, seed=0)
    said = [int(signal.values[0, 0]) // 1000 for signal in control.read(pool)]
    assert [number % 2 for number in said] == [1, 0, 1, 0]


def test_a_group_of_one_text_cannot_be_shuffled() -> None:
    pool = [*pool_of(4), Example("x", "lonely", "r", group="riddles")]
    with pytest.raises(InputError, match=r"the group 'riddles' has only one text with labels\nadd texts"):
        Control(Speaker(pool), "shuffled", pool, seed=0)


def test_a_control_tells_what_it_draws_from() -> None:
    """A training that was stopped does not go on with other groups."""
    pool = pool_of(8)
    same, other = list(pool), [Example(e.id, e.prompt, e.response) for e in pool]
    one, again, changed = (Control(Speaker(pool), "shuffled", texts, 0).content for texts in (pool, same, other))
    assert one == again != changed


def test_permuted_ids_rename_the_vocabulary(models: dict[str, Path], examples: list[Example]) -> None:
    source = LiveSource("llama", models["llama"], None, 128)
    control = Control(source, "permuted_ids", examples, seed=0)
    before, after = source.read(examples), control.read(examples)
    ids = [(x.ids, y.ids) for x, y in zip(before, after, strict=True) if x.ids is not None and y.ids is not None]
    assert len(ids) == len(examples)
    names = {(int(a), int(b)) for x, y in ids for a, b in zip(x.flat, y.flat, strict=True)}
    assert len(names) == len({a for a, _ in names}) == len({b for _, b in names}) == source.vocabulary
    assert sum(a == b for a, b in names) < 10
    assert all(np.array_equal(x.values, y.values) for x, y in zip(before, after, strict=True))
