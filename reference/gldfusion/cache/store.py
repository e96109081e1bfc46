"""Reads a cache: `SourceCache`."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from gldfusion.cache.columns import OPTIONAL, starts_of, unpack_signal
from gldfusion.cache.integrity import AGAIN, sound_shards
from gldfusion.cache.shards import open_shard
from gldfusion.errors import InputError
from gldfusion.paths import require_cache
from gldfusion.reading import LARGEST_FILE, plain_line, read_object, shown
from gldfusion.sources import Example, SequenceSignal, require_finite

FORMAT = 3


def row_key(content: str, example: Example) -> bytes:
    """The key of a row: 16 bytes that identify one text and one source.

    Args:
        content: the hash `content` of meta.json, which identifies the source.
        example: the text.
    """
    return hashlib.sha256(bytes.fromhex(content) + example.key).digest()[:16]


def read_meta(cache: Path) -> dict[str, Any]:
    """Reads meta.json of a cache.

    Raises:
        InputError: there is no cache, or it has another format.
    """
    meta = read_object(require_cache(cache) / "meta.json", "description of a cache", AGAIN)
    if meta.get("format") != FORMAT:
        raise InputError(
            f"the cache {cache} has format {shown(meta.get('format'))}, this version reads {FORMAT}\n{AGAIN}"
        )
    types = {"content": str, "checkpoint": str, "vocabulary_hash": str, "vocabulary": int, "k": int}
    types |= {"columns": list, "dtype": str, "max_length": int}
    if wrong := [name for name, kind in types.items() if not isinstance(meta.get(name), kind)]:
        raise InputError(f"{cache / 'meta.json'} is damaged: {wrong[0]} is {shown(meta.get(wrong[0]))}\n{AGAIN}")
    if strange := [name for name in meta["columns"] if name not in OPTIONAL]:
        raise InputError(f"{cache / 'meta.json'} is damaged: there is no column {shown(strange[0])}\n{AGAIN}")
    return meta


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, cache: Path) -> None:
    """Writes a tokenizer into a cache, as a zip file."""
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(cache / "tokenizer.zip", "w") as archive:
        tokenizer.save_pretrained(name)
        for path in sorted(Path(name).rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(name), zipfile.ZIP_DEFLATED, 9)


def cached_tokenizer(cache: Path) -> PreTrainedTokenizerFast:
    """Loads the source's tokenizer from a cache. The source's checkpoint is not needed.

    Raises:
        InputError: the cache has no tokenizer, or it is broken.
    """
    try:
        with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(cache / "tokenizer.zip") as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST_FILE:
                raise ValueError("it unpacks to too many bytes")
            archive.extractall(name)
            return PreTrainedTokenizerFast.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare Exception
        raise InputError(f"no tokenizer in the cache {cache} ({plain_line(error)})\n{AGAIN}") from None


class SourceCache:
    """The stored signals of one source. It can be read like a `LiveSource`, without the source's weights."""

    def __init__(self, name: str, cache: Path, k: int | None = None) -> None:
        """Opens a cache. It checks every file, so a broken one does not stop a training hours later.

        Args:
            name: name of the source.
            cache: folder of the cache.
            k: how many of the stored logits to read per position. None reads all.

        Raises:
            InputError: there is no cache of this format, it stores fewer than k logits, or a file is missing, broken or
                not listed.
        """
        self.name = name
        self.cache = cache
        try:
            self.meta: Mapping[str, Any] = read_meta(cache)
        except InputError as error:
            raise InputError(f"source {name}: {error}") from None
        self.k: int = k or self.meta["k"]
        if self.k > self.meta["k"]:
            raise InputError(
                f"source {name}: the recipe asks for k = {k}, its cache holds k = {self.meta['k']}\n"
                "build a cache with that k, or lower k in the recipe"
            )
        self.vocabulary: int = self.meta["vocabulary"]
        self.vocabulary_hash: str = self.meta["vocabulary_hash"]
        self.checkpoint_hash: str = self.meta["checkpoint"]
        self.shards = [open_shard(path, self.meta) for path in sound_shards(cache)]
        sizes = [len(shard.columns["keys"]) for shard in self.shards]
        self._first = np.cumsum([0, *sizes])
        keys = np.concatenate([np.zeros((0, 16), np.uint8), *(shard.columns["keys"] for shard in self.shards)])
        names = _comparable(keys)
        self._order = np.argsort(names, kind="stable")  # of equal rows, the one in the first shard is read
        self._names = names[self._order]

    def __len__(self) -> int:
        """The number of stored rows. A text that two builders stored counts twice."""
        return len(self._names)

    def require(self, columns: Collection[str]) -> None:
        """Checks that the cache has these optional columns.

        Raises:
            InputError: it does not.
        """
        if missing := [name for name in columns if name not in self.meta["columns"]]:
            held = ", ".join(["values", *self.meta["columns"]])
            raise InputError(
                f"source {self.name}: the recipe needs {', '.join(missing)}, its cache {self.cache} holds {held}\n"
                "name another folder and build it with `gldbench cache`: it stores what the recipe's terms need"
            )

    def require_settings(self, **settings: object) -> None:
        """Checks that the cache was made with these settings of meta.json, for example `max_length` and `dtype`.

        Raises:
            InputError: it was made with others. Its logits would not be those of the recipe.
        """
        for name, value in settings.items():
            if self.meta[name] != value:
                raise InputError(
                    f"source {self.name}: its cache {self.cache} was made with {name} {self.meta[name]}, "
                    f"the recipe says {name} {value}\n"
                    "name another cache folder and fill it with `gldbench cache`, or change the recipe"
                )

    @property
    def content(self) -> str:
        """The hash of what determines the stored logits: weights, tokenizer, template, dtype and max_length."""
        return self.meta["content"]

    def starts(self, examples: Sequence[Example]) -> list[list[int]]:
        """See `SourceSignals.starts`."""
        return [starts_of(columns, row).tolist() for columns, row in self._rows(examples)]

    def read(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        """See `SourceSignals.read`."""
        signals = [unpack_signal(columns, row, self.k) for columns, row in self._rows(examples)]
        if not all(_finite(signals, name) for name in signals[0].held if name != "ids"):
            for example, signal in zip(examples, signals, strict=True):
                require_finite(self.name, example, signal)
        return signals

    def _rows(self, examples: Sequence[Example]) -> list[tuple[dict[str, NDArray], int]]:
        """For each text, the columns of its shard and its row in them.

        Raises:
            InputError: a text is not stored.
        """
        places = self._places(examples)
        for example in (e for e, place in zip(examples, places, strict=True) if place < 0):
            raise InputError(
                f"source {self.name}: the cache {self.cache} has no logits for example {example.id}\n"
                "build it again with `gldbench cache`: only missing texts are run"
            )
        shards = np.searchsorted(self._first, places, side="right") - 1
        rows = places - self._first[shards]
        return [(self.shards[s].columns, r) for s, r in zip(shards.tolist(), rows.tolist(), strict=True)]

    def _places(self, examples: Sequence[Example]) -> NDArray[np.int64]:
        """The row of each text, counted through all shards; -1 if it is not stored."""
        keys = b"".join(row_key(self.meta["content"], example) for example in examples)
        wanted = _comparable(np.frombuffer(keys, dtype=np.uint8).reshape(-1, 16))
        at = np.searchsorted(self._names, wanted)
        found = np.zeros(len(wanted), dtype=bool)
        inside = at < len(self._names)
        found[inside] = self._names[at[inside]] == wanted[inside]
        out = np.full(len(wanted), -1, dtype=np.int64)
        out[found] = self._order[at[found]]
        return out


def _finite(signals: Sequence[SequenceSignal], name: str) -> bool:
    """Whether a field has no infinite or NaN value in any of the signals, which all hold it."""
    return bool(np.isfinite(np.concatenate([getattr(signal, name) for signal in signals])).all())


def _comparable(keys: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Turns 16 bytes per row into one value per row, which numpy can sort and search.

    Numpy ignores zeros at the end of such a value. All values have the same length, so this makes no two of them equal.
    """
    return np.ascontiguousarray(keys).view("S16")[:, 0]
