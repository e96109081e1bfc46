"""Maps from one vocabulary to another: each token of a source is mapped to a token of the pivot.

    exact     the pivot's token with the same bytes, or none
    mined     the pivot's token with the same bytes, or else the one with the least edit distance in bytes (MinED)
    fusellm   the mapping of FuseLLM's code. It compares the strings that the vocabularies contain, after the source's
              character for a space is replaced by the pivot's: the equal string, or else the one with the least edit
              distance in lower case. Special tokens are treated like all others

Among several candidates the lowest id is taken; in a trained vocabulary it is the most frequent token. (FuseLLM's code
takes the first in the order of a hash map.) `exact` and `mined` map a special token only to the special token with the
same role (end of sequence to end of sequence) or name.

Source of MinED: Wan et al. 2024, "Knowledge Fusion of Large Language Models" (FuseLLM, arXiv 2401.10491), section 3.2,
after Fu et al. 2023 (arXiv 2301.12726).
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gldfusion.edits import nearest
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_json, require_user_cache, user_cache
from gldfusion.graph import check_choice

Strategy = Literal["exact", "mined", "fusellm"]
FORMAT = 1
ROLES = ("eos_token", "bos_token", "pad_token", "unk_token")
SPACES = "▁Ġ"


@dataclass(frozen=True, eq=False)
class VocabularyMap:
    """A map from source ids to pivot ids."""

    ids: NDArray[np.int64]
    """[V_s] the pivot's id for each id of the source; -1 if there is none"""
    distances: NDArray[np.int64]
    """[V_s] the number of edits between the two tokens; 0 if they are equal, -1 if there is none"""

    def table(self, rows: int) -> torch.Tensor:
        """The map as a tensor for the source's output layer.

        Args:
            rows: number of rows of the output layer. Rows without a token are mapped to -1.

        Returns:
            [rows] int64.
        """
        out = np.full(max(rows, len(self.ids)), -1, dtype=np.int64)
        out[: len(self.ids)] = self.ids
        return torch.from_numpy(out[:rows])


@dataclass(frozen=True)
class Vocabulary:
    """The entries of a tokenizer. Some ids below the largest may be unused."""

    tokens: Mapping[int, str]
    """id -> token as the tokenizer writes it, in ascending order of the ids"""
    special: Mapping[int, str]
    """id of a special token -> its role ("eos_token"), or the token itself if it has no role"""
    state: Mapping[str, Any]
    """the content of tokenizer.json"""

    @cached_property
    def bytes(self) -> dict[int, bytes]:
        """The bytes of each entry that is not special. For a token that stands for a single byte, that byte."""
        spell = _speller(self.state)
        return {i: spell(token) for i, token in self.tokens.items() if i not in self.special}

    @cached_property
    def space(self) -> str:
        """The character that marks a space in tokens; empty if there is none."""
        count = {mark: sum(mark in token for token in self.tokens.values()) for mark in SPACES}
        mark = max(SPACES, key=lambda mark: count[mark])
        return mark if count[mark] else ""

    @property
    def size(self) -> int:
        """The largest id + 1."""
        return max(self.tokens, default=-1) + 1


def vocabulary(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a fast transformers tokenizer.

    Raises:
        InputError: the tokenizer is not a fast one.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"expected a fast tokenizer: {tokenizer.name_or_path} does not tell the bytes of its tokens\n"
            "convert it to a fast one"
        )
    tokens = dict(sorted((i, token) for token, i in tokenizer.get_vocab().items()))
    roles = {getattr(tokenizer, f"{role}_id"): role for role in reversed(ROLES)}  # of two roles the first counts
    named = {i: entry.content for i, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    special = named | {i: role for i, role in roles.items() if i is not None}
    return Vocabulary(tokens, special, json.loads(tokenizer.backend_tokenizer.to_str()))


def vocabulary_map(pivot: Any, source: Any, strategy: Strategy = "mined", folder: Path | None = None) -> VocabularyMap:
    """The map from the source's ids to the pivot's.

    The map is saved, and the next call for the same two vocabularies reads it. The file name contains a hash of both.

    Args:
        pivot: the pivot's tokenizer.
        source: the source's tokenizer.
        strategy: see the module docstring.
        folder: where maps are saved. None: `map_folder()`.

    Raises:
        InputError: the strategy is unknown, a tokenizer is not a fast one, or a saved map cannot be read.
    """
    check_choice("map", strategy, list(STRATEGIES))
    ours, theirs = vocabulary(pivot), vocabulary(source)

    def make() -> dict[str, NDArray[Any]]:
        return dict(zip(("ids", "distances"), STRATEGIES[strategy](ours, theirs), strict=True))

    return VocabularyMap(**saved_arrays(strategy, FORMAT, ours, theirs, folder, ("ids", "distances"), make))


def saved_arrays(
    kind: str,
    version: int,
    ours: Vocabulary,
    theirs: Vocabulary,
    folder: Path | None,
    names: Sequence[str],
    make: Callable[[], dict[str, NDArray[Any]]],
) -> dict[str, NDArray[Any]]:
    """Arrays that two vocabularies determine. They are saved, and read the next time.

    Args:
        kind: what the arrays are, for the name of the file. The name also contains a hash of both vocabularies.
        version: number of the rules by which they are made.
        ours: the pivot's vocabulary.
        theirs: the source's vocabulary.
        folder: where they are saved. None: `map_folder()`.
        names: the names of the arrays.
        make: makes them.

    Raises:
        InputError: a saved file cannot be read.
    """
    content = [[list(v.tokens.items()), sorted(v.special.items()), _spelling(v.state)] for v in (ours, theirs)]
    path = (folder or map_folder()) / f"{kind}-{hash_json([version, kind, *content])[:32]}.npz"
    if path.exists():
        return _read(path, names)
    found = make()
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **found)
    return found


def map_folder() -> Path:
    """Where maps are saved: `vocabulary-maps` in the user's cache folder."""
    return user_cache("vocabulary-maps")


def require_map_folder() -> Path:
    """Checks that maps can be saved, before models are loaded, and returns their folder.

    Raises:
        InputError: the folder cannot be made, or no file can be written to it.
    """
    return require_user_cache("vocabulary-maps", "vocabulary maps")


def _read(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as a vocabulary map ({error})\ndelete it and try again") from None


def _exact(pivot: Vocabulary, source: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Maps tokens with equal bytes, and special tokens by role or name.

    Among several candidates, the one that is written like the source's token is taken, or else the lowest id, with
    single-byte entries last.
    """
    by_bytes: dict[bytes, int] = {}
    for i, text in sorted(pivot.bytes.items(), key=lambda item: (_is_byte_entry(pivot.tokens[item[0]]), item[0])):
        by_bytes.setdefault(text, i)
    alike = {(pivot.tokens[i], text): i for i, text in pivot.bytes.items()}
    role = {what: i for i, what in sorted(pivot.special.items(), reverse=True)}
    ids = np.full(source.size, -1, dtype=np.int64)
    for i, token in source.tokens.items():
        if i in source.special:
            ids[i] = role.get(source.special[i], -1)
        else:
            text = source.bytes[i]
            ids[i] = alike.get((token, text), by_bytes.get(text, -1))
    return ids, np.where(ids >= 0, 0, -1)


def _mined(pivot: Vocabulary, source: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ids, distances = _exact(pivot, source)
    missing = [i for i in source.bytes if ids[i] < 0]
    if missing and pivot.bytes:
        known = list(pivot.bytes)
        index, distance = nearest([source.bytes[i] for i in missing], list(pivot.bytes.values()))
        ids[missing], distances[missing] = np.array(known)[index], distance
    return ids, distances


def _fusellm(pivot: Vocabulary, source: Vocabulary) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    known = {token: i for i, token in pivot.tokens.items()}
    ids, distances = (np.full(source.size, -1, dtype=np.int64) for _ in range(2))
    written = {
        i: token.replace(source.space, pivot.space) if source.space else token for i, token in source.tokens.items()
    }
    for i, token in written.items():
        if token in known:
            ids[i], distances[i] = known[token], 0
    missing = [i for i in written if ids[i] < 0]
    if missing:
        lower = [[ord(character) for character in token.lower()] for token in known]
        index, distance = nearest([[ord(c) for c in written[i].lower()] for i in missing], lower)
        ids[missing], distances[missing] = np.array(list(known.values()))[index], distance
    return ids, distances


STRATEGIES: dict[str, Callable[[Vocabulary, Vocabulary], tuple[NDArray[np.int64], NDArray[np.int64]]]] = {
    "exact": _exact,
    "mined": _mined,
    "fusellm": _fusellm,
}


def _speller(state: Mapping[str, Any]) -> Callable[[str], bytes]:
    """A function from a token to its bytes, as this tokenizer's decoder computes them."""
    if "ByteLevel" in _types(state):
        byte_of = _byte_alphabet()
        return lambda t: bytes(byte_of[c] for c in t) if all(c in byte_of for c in t) else t.encode()
    model = state["model"]
    prefix = model.get("continuing_subword_prefix") or ""
    spaces = "▁" in json.dumps(_spelling(state), ensure_ascii=False)
    fallback = bool(model.get("byte_fallback"))

    def spell(token: str) -> bytes:
        if fallback and _is_byte_entry(token):
            return bytes([int(token[3:5], 16)])
        text = token.removeprefix(prefix) if prefix and token != prefix else token
        return (text.replace("▁", " ") if spaces else text).encode()

    return spell


def _spelling(state: Mapping[str, Any]) -> list[Any]:
    """The parts of a tokenizer that determine the bytes of its tokens."""
    model = state["model"]
    parts = [state.get(name) for name in ("normalizer", "pre_tokenizer", "decoder")]
    return [*parts, model.get("continuing_subword_prefix"), model.get("byte_fallback")]


def _types(part: Any) -> Iterator[str]:
    """The "type" of every part of a tokenizer, and of the parts inside it."""
    if isinstance(part, Mapping):
        part = {k: v for k, v in part.items() if k not in ("model", "added_tokens", "post_processor")}
        yield from [str(part["type"])] if "type" in part else []
        for inner in part.values():
            yield from _types(inner)
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for inner in part:
            yield from _types(inner)


def exact_map(pivot: Vocabulary, source: Vocabulary) -> NDArray[np.int64]:
    """The map `exact` from the source's ids to the pivot's: [V_s], -1 if there is none."""
    return _exact(pivot, source)[0]


def _is_byte_entry(token: str) -> bool:
    return re.fullmatch("<0x[0-9A-F]{2}>", token) is not None


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet, character -> byte. A printable byte is its own character; others start at 256."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
