"""Fills a cache. Several processes may do this at the same time; each part of the texts is run by one of them.

A process that fills a cache is called a builder. All builders hold a shared lock beside the cache while they work. A
builder that finds itself alone first removes what killed builders left behind. To claim a part, a builder locks one
byte of `.claims`; a hash of the part's texts says which byte. The system releases both locks when their process ends,
and a shard is complete or absent. So a killed builder loses only the part that it was running. Another builder, or the
next call, runs that part.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from gldfusion.cache.answers import AnsweredSource, Answers, require_answered
from gldfusion.cache.columns import OPTIONAL, pack_signals
from gldfusion.cache.integrity import mend
from gldfusion.cache.shards import open_shard, shard_paths, write_shard
from gldfusion.cache.store import FORMAT, read_meta, row_key, save_tokenizer
from gldfusion.chat import RULES
from gldfusion.errors import InputError
from gldfusion.files import hash_json, remove, remove_leftovers, write_json
from gldfusion.hashes import hash_parts
from gldfusion.manifest import sealed_dir
from gldfusion.model import load_tokenizer, vocabulary_hash
from gldfusion.paths import require_checkpoint
from gldfusion.progress import Progress
from gldfusion.sources import Example, LiveSource
from gldfusion.specials import Special

WAIT = 0.2
"""seconds to wait before looking again whether other builders have stored their parts"""


def build_cache(
    checkpoint: Path,
    cache: Path,
    examples: Sequence[Example],
    k: int,
    max_length: int,
    shard_size: int = 2048,
    progress: Progress | None = None,
    *,
    columns: Collection[str] = OPTIONAL,
    dtype: str = "float32",
    device: str | None = None,
    offload: bool = False,
    trust_remote_code: bool = False,
    special: Special = "parse",
    answers: Answers | None = None,
) -> int:
    """Runs the source over the texts that are not in the cache, and stores its top-k logits.

    Any number of processes may call this at the same time with the same cache. They share the work, and each call
    returns when all of `examples` are stored. A process that is killed loses at most one shard of work.

    Args:
        checkpoint: folder of the source.
        cache: folder of the cache; it is made if it does not exist.
        examples: the texts.
        k: number of largest logits to store per position.
        max_length: largest number of tokens of a text, prompt and response together.
        shard_size: number of texts per shard. All processes that build at the same time must use the same number,
            otherwise some texts are run and stored twice.
        progress: called with (texts stored by now, texts that were missing at the start).
        columns: which of `columns.OPTIONAL` to store besides the values. The cache may have more of them.
        dtype: precision in which the source runs: "float32", "bfloat16" or "float16".
        device: torch name of the device on which it runs. None: a CUDA device if there is one.
        offload: see `LiveSource`.
        trust_remote_code: see `LiveSource`. meta.json records it.
        special: see `LiveSource`. meta.json records it unless it is "parse".
        answers: the logprobs of a source that runs elsewhere; meta.json records its name. Then the checkpoint needs no
            weights.

    Returns:
        How many texts this call ran.

    Raises:
        InputError: the cache belongs to another checkpoint, dtype, k or max_length, it has fewer columns, or a shard is
            broken; or k is larger than the vocabulary; or the answers do not tell what is to be stored.
        OSError: the disk is full.
    """
    require_checkpoint(checkpoint, trust_remote_code, weights=answers is None)
    if answers is not None:
        require_answered(columns)
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    sources: list[LiveSource | AnsweredSource] = []

    def source() -> LiveSource | AnsweredSource:
        """Returns the source; the first call loads it."""
        if not sources and answers is not None:
            own = {"trust_remote_code": trust_remote_code, "special": special}
            sources.append(AnsweredSource(cache.name, checkpoint, answers, k, max_length, **own))
        elif not sources:
            sources.append(
                LiveSource(
                    name=cache.name,
                    checkpoint=checkpoint,
                    k=k,
                    max_length=max_length,
                    device=where,
                    dtype=dtype,
                    offload=offload,
                    trust_remote_code=trust_remote_code,
                    special=special,
                )
            )
        return sources[0]

    model = None if answers is None else answers.model
    meta = describe(checkpoint, dtype, max_length, k, trust_remote_code, special, model)
    with _building(cache, lambda: create_cache(cache, source().tokenizer, source().vocabulary, meta, columns)):
        if not mend(cache, read_meta(cache)):  # nothing else says whether meta.json is intact
            meta |= _of_source(source().tokenizer, source().vocabulary)
        _check_same(cache, meta, columns)
        return _Builder(cache, examples, shard_size).fill(source, progress)


def describe(
    checkpoint: Path,
    dtype: str,
    max_length: int,
    k: int,
    trust_remote_code: bool = False,
    special: Special = "parse",
    model: str | None = None,
) -> dict[str, Any]:
    """The part of meta.json that identifies the stored logits. Arguments as for `build_cache`.

    `model` is the name of a source that ran elsewhere.
    """
    parts = hash_parts(checkpoint)
    decides = {
        "model": parts["model"],
        "tokenizer": parts["tokenizer"],
        "template": hash_json(load_tokenizer(checkpoint, trust_remote_code, weights=model is None).chat_template),
        "prompts": RULES,
        "dtype": dtype,
        "max_length": max_length,
    }
    decides |= {"trust_remote_code": True} if trust_remote_code else {}
    decides |= {"special_tokens_in_text": special} if special == "text" else {}
    decides |= {"answered_by": model} if model is not None else {}
    whole = {"format": FORMAT, "checkpoint": parts["checkpoint"], **decides}
    return whole | {"content": hash_json(decides), "k": k}


def create_cache(
    cache: Path,
    tokenizer: PreTrainedTokenizerFast,
    vocabulary: int,
    meta: Mapping[str, Any],
    columns: Collection[str],
) -> None:
    """Makes the folder of an empty cache.

    Args:
        cache: the folder. It must not exist.
        tokenizer: the source's.
        vocabulary: number of entries of the source's output layer.
        meta: see `describe`.
        columns: which of `columns.OPTIONAL` are to be stored.
    """
    whole = {
        **meta,
        **_of_source(tokenizer, vocabulary),
        "columns": [name for name in OPTIONAL if name in columns],
    }
    with sealed_dir(cache) as folder:
        if "ids" in columns:
            save_tokenizer(tokenizer, folder)
        (folder / ".claims").touch()
        write_json(folder / "meta.json", whole)


def _of_source(tokenizer: PreTrainedTokenizerFast, vocabulary: int) -> dict[str, Any]:
    """The part of meta.json that only the loaded source tells. Arguments as for `create_cache`."""
    return {"vocabulary": vocabulary, "vocabulary_hash": vocabulary_hash(tokenizer)}


@contextmanager
def _building(cache: Path, create: Callable[[], None]) -> Iterator[None]:
    """Holds the builders' shared lock. `create` makes the cache if it does not exist."""
    lock = cache.with_name(f".{cache.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # other builders are at work; wait until the folder exists
                fcntl.flock(file, fcntl.LOCK_SH)
                if cache.exists():
                    break
                fcntl.flock(file, fcntl.LOCK_UN)
            else:
                _remove_unfinished(cache)
                if not cache.exists():
                    create()
                fcntl.flock(file, fcntl.LOCK_SH)
                break
        yield


def _remove_unfinished(cache: Path) -> None:
    """Removes the folders and shards that killed builders left unfinished."""
    remove_leftovers(cache)
    for path in cache.glob(".*.part"):
        remove(path)


def _check_same(cache: Path, meta: dict[str, Any], columns: Collection[str]) -> None:
    stored = read_meta(cache)
    keys = [
        key
        for key in dict.fromkeys([*meta, "trust_remote_code", "special_tokens_in_text", "answered_by"])
        if key != "content"
    ]
    different = [key for key in keys if stored.get(key) != meta.get(key)]
    if different:
        raise InputError(
            f"the cache {cache} was made with another {', '.join(different)} "
            f"({', '.join(str(stored.get(key))[:12] for key in different)})\n"
            "name another cache folder, or delete this one"
        )
    if missing := [name for name in columns if name not in stored["columns"]]:
        raise InputError(
            f"the cache {cache} was made without {', '.join(missing)}\nname another cache folder, or delete this one"
        )


class _Builder:
    """The work of one builder."""

    def __init__(self, cache: Path, examples: Sequence[Example], shard_size: int) -> None:
        self.cache = cache
        self.meta = read_meta(cache)
        self.content: str = self.meta["content"]
        self.texts = {row_key(self.content, e): e for e in examples}
        keys = list(self.texts)
        self.parts = [tuple(keys[i : i + shard_size]) for i in range(0, len(keys), shard_size)]
        self.stored: set[bytes] = set()
        self.read: set[Path] = set()
        self.look()
        self.missing = len(self.texts.keys() - self.stored)

    def look(self) -> None:
        """Reads the keys of the shards that have appeared since the last look."""
        for path in shard_paths(self.cache):
            if path not in self.read:
                self.stored.update(row.tobytes() for row in open_shard(path, self.meta).columns["keys"])
                self.read.add(path)

    def fill(self, source: Callable[[], LiveSource | AnsweredSource], progress: Progress | None) -> int:
        """Runs parts until all texts are stored, by any builder. Returns how many texts this builder ran."""
        ran, pending = 0, self.parts
        while pending := [part for part in pending if not self.stored.issuperset(part)]:
            before, held = ran, False
            for part in pending:
                if self.stored.issuperset(part):
                    continue
                with self._claim(part) as mine:
                    if not mine:
                        held = True
                        continue
                    self.look()  # another builder may have stored it in the meantime
                    ran += self._run([key for key in part if key not in self.stored], source)
                self.look()
                if progress and self.missing:
                    progress(self.missing - len(self.texts.keys() - self.stored), self.missing)
            if held and ran == before:
                time.sleep(WAIT)
                self.look()
        return ran

    def _run(self, keys: Sequence[bytes], source: Callable[[], LiveSource | AnsweredSource]) -> int:
        if keys:
            signals = source().read([self.texts[key] for key in keys])
            columns = pack_signals(keys, signals, self.meta["columns"], self.meta["vocabulary"])
            write_shard(self.cache, columns)
        return len(keys)

    @contextmanager
    def _claim(self, part: Sequence[bytes]) -> Iterator[bool]:
        """Yields whether this builder, and no other, may run the part while the block lasts."""
        byte = int.from_bytes(hashlib.sha256(b"".join(part)).digest()[:7], "little")
        with (self.cache / ".claims").open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except (BlockingIOError, PermissionError):  # POSIX allows either error
                yield False
            else:
                yield True
