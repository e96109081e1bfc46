"""The columns of encoded texts, and `Texts`, which reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gldfusion.align import Encoded
from gldfusion.sources import Example, encode_example
from gldfusion.specials import Special, with_special

T = TypeVar("T")

SCHEMA = pa.schema(
    [
        ("text", pa.large_binary()),  # the fields of the Example, as JSON
        ("key", pa.binary(16)),  # Example.key
        ("special", pa.large_binary()),  # the first special token that is typed in the text; null if there is none
        ("ids", pa.large_list(pa.int32())),  # this field and the next ones: those of Encoded
        ("starts", pa.large_list(pa.int32())),
        ("replies", pa.large_list(pa.int32())),
        ("n_prompt", pa.int32()),
        ("truncated", pa.int8()),
        ("largest", pa.int32()),  # the largest of the ids; -1 if there is none
    ]
)
LISTS = ("ids", "starts", "replies")


def encode_texts(tokenizer: Any, examples: Sequence[Example], max_length: int, special: Special) -> pa.RecordBatch:
    """Encodes texts for the pivot.

    Args:
        tokenizer: the pivot's.
        examples: the texts.
        max_length: largest number of tokens of a text, prompt and response together.
        special: how special tokens that are typed in the texts are read; see `specials`.

    Raises:
        InputError: an example cannot be encoded, or holds a special token and `special` is "refuse".
    """
    typed = {id(example): word for example, word in with_special(tokenizer, examples, special)}
    encoded = [encode_example(tokenizer, example, max_length, special) for example in examples]
    columns: dict[str, Any] = {
        "text": [_written(example) for example in examples],
        "key": [example.key for example in examples],
        "special": [typed[id(e)].encode("utf-8", "surrogatepass") if id(e) in typed else None for e in examples],
        "ids": [e.ids for e in encoded],
        "starts": [e.starts for e in encoded],
        "replies": [[place for span in e.replies or ((e.n_prompt, len(e.ids)),) for place in span] for e in encoded],
        "n_prompt": [e.n_prompt for e in encoded],
        "truncated": [int(e.truncated) for e in encoded],
        "largest": [max(e.ids, default=-1) for e in encoded],
    }
    arrays = [_lists(columns[f.name]) if f.name in LISTS else pa.array(columns[f.name], f.type) for f in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _written(example: Example) -> bytes:
    fields = (example.id, example.prompt, example.response, example.history, example.chat, example.group)
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _read(text: bytes) -> Example:
    name, prompt, response, history, chat, group = json.loads(text.decode("utf-8", "surrogatepass"))
    return Example(name, prompt, response, tuple((asked, said) for asked, said in history), chat, group)


def _lists(rows: Sequence[Sequence[int]]) -> pa.Array:
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    values = np.fromiter((value for row in rows for value in row), dtype=np.int32, count=int(ends[-1]))
    return pa.LargeListArray.from_arrays(pa.array(ends), pa.array(values))


class Texts:
    """Encoded texts. The columns may lie in a file that several processes map into their memory.

    Only what is asked for becomes Python objects. All arrays have one entry for each text.
    """

    examples: Rows[Example]
    """the texts, in their order"""
    encoded: Rows[Encoded]
    """each of them, encoded for the pivot"""
    lengths: NDArray[np.int64]
    """number of ids"""
    labels: NDArray[np.int64]
    """number of labelled positions"""
    largest: NDArray[np.int32]
    """the largest id"""
    truncated: NDArray[np.bool_]
    """whether max_length cut the text off"""
    with_special: list[tuple[int, str]]
    """the texts in which a special token is typed, by their number, each with the first such token"""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Reads batches with the columns of `SCHEMA`. Their numbers are not copied."""
        held = list(batches)
        self._first = np.cumsum([0, *(batch.num_rows for batch in held)])
        self._text = [batch.column("text") for batch in held]
        self._keys = [batch.column("key") for batch in held]
        self._lists = {name: [_List(batch.column(name)) for batch in held] for name in LISTS}
        self._prompts = _joined(held, "n_prompt", np.int32)
        self.lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.ends) for part in self._lists["ids"])])
        self.labels = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.ends) for part in self._lists["starts"])])
        self.largest = _joined(held, "largest", np.int32)
        self.truncated = _joined(held, "truncated", np.int8).astype(bool)
        words = [word for batch in held for word in batch.column("special").to_pylist()]
        self.with_special = [
            (i, word.decode("utf-8", "surrogatepass")) for i, word in enumerate(words) if word is not None
        ]
        number = int(self._first[-1])
        self.examples = Rows(number, self._example)
        self.encoded = Rows(number, self._encoded)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over the texts, in their order."""
        digest = hashlib.sha256()
        for column in self._keys:
            for key in column:
                digest.update(key.as_py())
        return digest.hexdigest()

    def _place(self, number: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._first, number, side="right")) - 1
        return part, number - int(self._first[part])

    def _example(self, number: int) -> Example:
        part, row = self._place(number)
        return _read(self._text[part][row].as_py())

    def _encoded(self, number: int) -> Encoded:
        part, row = self._place(number)
        ids, starts, ends = (self._lists[name][part].row(row) for name in LISTS)
        return Encoded(
            ids=ids,
            n_prompt=int(self._prompts[number]),
            starts=starts,
            truncated=bool(self.truncated[number]),
            replies=tuple(zip(ends[::2], ends[1::2], strict=True)),
        )


class _List:
    """A column of lists, read through numpy without copying."""

    def __init__(self, column: Any) -> None:
        self.ends: NDArray[np.int64] = column.offsets.to_numpy(zero_copy_only=True)
        self.values: NDArray[np.int32] = column.values.to_numpy(zero_copy_only=True)

    def row(self, number: int) -> list[int]:
        return self.values[self.ends[number] : self.ends[number + 1]].tolist()


class Rows(Sequence[T]):
    """A sequence whose entries are made when they are asked for."""

    def __init__(self, number: int, make: Callable[[int], T]) -> None:
        self._number = number
        self._make = make

    def __len__(self) -> int:
        return self._number

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        chosen = range(self._number)[index]
        return [self._make(i) for i in chosen] if isinstance(chosen, range) else self._make(chosen)


def _joined(batches: Sequence[pa.RecordBatch], name: str, dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(batch.column(name).to_numpy() for batch in batches)])
