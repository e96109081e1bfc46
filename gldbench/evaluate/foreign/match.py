"""Finds the item of each record: by its own id where it has one, else by the text of the question.

A text is compared as a sequence of words and signs, so that line breaks and spaces do not matter. The text of a file
may be the question itself, which is found by its hash, or a whole prompt, in which the question has to be found.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gldbench.evaluate.foreign.files import leaves
from gldbench.evaluate.foreign.record import Record
from gldbench.schema import Item, Task
from gldbench.tasks.readers import LETTERS, READERS, plain

_TOKEN = re.compile(r"\w+|[^\w\s]")
_MARK = "\x1f"
"""stands between two tokens"""
_BETWEEN = "\x1e"
"""stands between two texts"""
WINDOW = 8
"""number of last tokens of a question by which it is looked up in a prompt"""


@dataclass(frozen=True)
class Matched:
    """The outputs of the items, and the records whose item was not found."""

    outputs: dict[str, tuple[str, ...]]
    """item id -> responses"""
    unmatched: list[str]
    """places of records that belong to no item"""
    doubled: int
    """number of items that have the same text as another one; they were matched in the order of the file"""


def match(task: Task, items: Sequence[Item], records: Sequence[Record]) -> Matched:
    """Finds the item of each record.

    An id counts only if the data set itself has ids, because numbers of rows differ between harnesses. It also has to
    agree with the text, if the record has one.

    Args:
        task: the task.
        items: its items.
        records: what a reader of READERS returned.
    """
    index = _Index(task, items)
    outputs: dict[str, tuple[str, ...]] = {}
    unmatched: list[str] = []
    shared: set[str] = set()
    for record in records:
        candidates = index.candidates(record)
        free = [item_id for item_id in candidates if item_id not in outputs]
        if not free:
            unmatched.append(record.where)
            continue
        outputs[free[0]] = record.outputs
        shared.update(candidates if len(candidates) > 1 else ())
    return Matched(outputs, unmatched, len(shared))


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _joined(tokens: Sequence[str]) -> str:
    return f"{_MARK}{_MARK.join(tokens)}{_MARK}"


@dataclass(frozen=True)
class _Question:
    """What identifies an item. All texts are tokens, joined."""

    item_id: str
    text: str
    """the question"""
    passage: str
    """what belongs to the question and stands anywhere; empty: nothing"""
    options: tuple[str, ...]
    """the options, which stand after the question, in this order"""

    def gap(self, whole: str, end: int) -> int | None:
        """How much stands between the options, if they and the passage stand where they belong; else None.

        Args:
            whole: all texts of a record.
            end: where this question ends in `whole`.
        """
        if self.passage not in whole:
            return None
        gap = 0
        for option in self.options:
            place = whole.find(option, end - 1)  # two texts share the mark between them
            if place < 0:
                return None
            gap += place - end
            end = place + len(option)
        return gap


class _Index:
    """The questions of a task, by their whole text and by their last tokens."""

    def __init__(self, task: Task, items: Sequence[Item]) -> None:
        self._rows = {item.item_id: dict(item.record) for item in items}
        self._questions = {question.item_id: question for question in _questions(task, items)}
        self._named = all(item.item_id in set(map(str, item.record.values())) for item in items)
        self._whole: dict[str, list[_Question]] = defaultdict(list)
        self._ends: dict[str, list[_Question]] = defaultdict(list)
        self._sizes: set[int] = set()
        for question in self._questions.values():
            tokens = question.text.strip(_MARK).split(_MARK)
            self._whole[_digest(question.text)].append(question)
            self._ends[_joined(tokens[-WINDOW:])].append(question)
            self._sizes.add(min(WINDOW, len(tokens)))

    def candidates(self, record: Record) -> list[str]:
        """The ids of the items that a record may belong to, in the order of the task."""
        texts = [_joined(_tokens(text)) for text in record.texts]
        if self._named:
            for name in record.ids:
                question = self._questions.get(name)
                if question and (not texts or any(question.text in text for text in texts)):
                    return [name]
        whole = _BETWEEN.join(texts)
        found = self._exact(texts, whole) or self._inside(whole)
        if len(found) > 1:
            shared = [self._shared(question, whole) for question in found]
            found = [question for question, size in zip(found, shared, strict=True) if size == max(shared)]
        return [question.item_id for question in found]

    def _shared(self, question: _Question, whole: str) -> int:
        """How much of an item's row stands in the texts: tests or gold answers can tell equal questions apart."""
        rows = (_joined(_tokens(text)) for text in leaves(self._rows[question.item_id]))
        return sum(len(text) for text in rows if text in whole)

    def _exact(self, texts: Sequence[str], whole: str) -> list[_Question]:
        """The questions that are one of the texts."""
        places, start = [], 0
        for text in texts:
            places += [(question, start + len(text)) for question in self._whole.get(_digest(text), ())]
            start += len(text) + len(_BETWEEN)
        return _tightest(places, whole) or [question for question, _ in places]

    def _inside(self, whole: str) -> list[_Question]:
        """The questions that stand in the texts with all their options: those that end last; of these the longest."""
        without_options: list[_Question] = []
        for end, found in self._endings(whole):
            own = [(q, end) for q in found if whole.endswith(q.text, 0, end)]
            for length in sorted({len(q.text) for q, _ in own}, reverse=True):
                longest = [(q, place) for q, place in own if len(q.text) == length]
                if agreeing := _tightest(longest, whole):
                    return agreeing
                without_options = without_options or [q for q, _ in longest]
        return without_options

    def _endings(self, text: str) -> Iterator[tuple[int, list[_Question]]]:
        """Yields (end, questions with the last tokens before it), from the end of the text."""
        marks = [place for place, character in enumerate(text) if character == _MARK]
        for last in range(len(marks) - 1, 0, -1):
            found = []
            for size in self._sizes:
                if last >= size:
                    found += self._ends.get(text[marks[last - size] : marks[last] + 1], ())
            if found:
                yield marks[last] + 1, found


def _tightest(places: Sequence[tuple[_Question, int]], whole: str) -> list[_Question]:
    """Of questions at their places, those whose passage and options stand in the texts, the options closest by."""
    gaps = [(question, question.gap(whole, end)) for question, end in places]
    known = [gap for _, gap in gaps if gap is not None]
    chosen = [question for question, gap in gaps if known and gap == min(known)]
    return list({question.item_id: question for question in chosen}.values())


def _questions(task: Task, items: Sequence[Item]) -> Iterator[_Question]:
    """Yields the question of each item, with its passage and its options."""
    fields = [_fields(task, item) for item in items]
    name = _telling(task, fields, items)
    for item, own in zip(items, fields, strict=True):
        passage = own.get("passage", "") if "question" in own else ""
        main = own["question"] if passage else own.get(name, item.prompt)
        yield _Question(
            item_id=item.item_id,
            text=_joined(_tokens(main)),
            passage=_joined(_tokens(passage)) if passage else "",
            options=tuple(_joined(_tokens(option)) for option in item.choices if option.strip() not in LETTERS),
        )


def _telling(task: Task, fields: Sequence[Mapping[str, str]], items: Sequence[Item]) -> str:
    """The field of the prompt that tells items apart: it has the most different values; of several, the first.

    Options are left out, because they say what is answered and not what is asked.
    """
    examples = task.exemplars.fills if task.exemplars else ""
    names = [name for name in re.findall(r"\{(\w+)\}", task.prompt) if name != examples]
    known = [
        name
        for name in dict.fromkeys(names)
        if all(name in own and own[name] not in item.choices for own, item in zip(fields, items, strict=True))
    ]
    return max(known, key=lambda name: len({own[name] for own in fields}), default="")


def _fields(task: Task, item: Item) -> Mapping[str, str]:
    record = dict(item.record)
    reading = READERS[task.reader](0, record) if task.reader else plain(task.dataset, 0, record)
    return {name: str(value) for name, value in reading.fields.items()}
