"""The file of encoded texts in the user's cache.

The name of its folder is a hash of all that decides its content: the data, the tokenizer, the settings, and the code
that reads and encodes texts. The folder is written under a temporary name, sealed by a manifest and renamed. One
process writes it while all others that want it wait for its lock. Every process that opens it compares it with the
checksum; a damaged one is made again.
"""

from __future__ import annotations

import fcntl
import inspect
import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc
from transformers import PreTrainedTokenizerFast

from gldfusion import align, chat, conversations, examples, sources, specials, templates, tokens, turns
from gldfusion.errors import InputError
from gldfusion.examples import hub_files, load_examples
from gldfusion.files import hash_file, hash_json, remove, remove_leftovers, require_user_cache
from gldfusion.hashes import hash_tokenizer
from gldfusion.manifest import sealed_dir, verify_manifest
from gldfusion.paths import require_data
from gldfusion.recipe import DataPart
from gldfusion.sources import Example
from gldfusion.texts import columns
from gldfusion.texts.columns import SCHEMA, Texts, encode_texts
from gldfusion.texts.workers import Encoding, encode_in_parallel

_log = logging.getLogger(__name__)

LARGE = 8 << 20
"""bytes of data files from which on the encoded texts are kept in a file"""
KEPT = 4
"""texts of small data that a process keeps: those who train often on the same data encode them once"""
FILE = "texts.arrow"
CODE = (align, chat, conversations, examples, sources, specials, templates, tokens, turns, columns)
"""the modules that read and encode texts"""
PACKAGES = ("tokenizers", "transformers", "jinja2")

_small: OrderedDict[str, Texts] = OrderedDict()
"""the texts of small data by the name of what decides them, the last used at the end"""


def load_texts(data: Sequence[DataPart], seed: int, tokenizer: PreTrainedTokenizerFast, encoding: Encoding) -> Texts:
    """Reads the data of a recipe and encodes them for the pivot, or finds them encoded.

    Args:
        data: the data; see `examples.load_examples`.
        seed: seed of the draws of a mixture.
        tokenizer: the pivot's.
        encoding: how the texts are encoded.

    Raises:
        InputError: the data cannot be read or encoded, or the user's cache cannot be written.
        OSError: the disk is full.
    """
    found = [_files(part) for part in data]
    files = [file for part in found for file in part]
    if not all(found):
        return _encoded(data, seed, tokenizer, encoding)
    name = _name(data, seed, files, encoding)
    if sum(file.stat().st_size for file in files) < LARGE:
        if name not in _small:
            _small[name] = _encoded(data, seed, tokenizer, encoding)
        _small.move_to_end(name)
        while len(_small) > KEPT:
            _small.popitem(last=False)
        return _small[name]
    path = require_user_cache("texts", "encoded texts") / name
    with _locked(path, fcntl.LOCK_SH):
        if intact(path):
            return open_texts(path)
    with _locked(path, fcntl.LOCK_EX):
        if not intact(path):
            if path.exists():
                _log.warning("warning: the encoded texts in %s are damaged; they are made again", path)
            remove(path)
            remove_leftovers(path)
            write_texts(path, load_examples(data, seed), encoding)
        return open_texts(path)


def _encoded(data: Sequence[DataPart], seed: int, tokenizer: PreTrainedTokenizerFast, encoding: Encoding) -> Texts:
    """Reads the data and encodes them in this process."""
    return Texts([encode_texts(tokenizer, load_examples(data, seed), encoding.max_length, encoding.special)])


def write_texts(path: Path, read: Sequence[Example], encoding: Encoding) -> None:
    """Encodes texts and writes them into a new folder. Arguments as for `encode_in_parallel`."""
    with sealed_dir(path) as folder, pa.OSFile(str(folder / FILE), "wb") as sink, ipc.new_file(sink, SCHEMA) as file:
        for batch in encode_in_parallel(read, encoding):
            file.write_batch(batch)


def open_texts(path: Path) -> Texts:
    """Maps the file in a folder into the memory."""
    file = ipc.open_file(pa.memory_map(str(path / FILE)))
    return Texts(file.get_batch(number) for number in range(file.num_record_batches))


def intact(path: Path) -> bool:
    """Whether the folder is there and equals what was written."""
    try:
        verify_manifest(path, "the folder of encoded texts", "delete it")
    except InputError:
        return False
    return True


def _files(part: DataPart) -> list[Path]:
    """The files that hold the records of a part; none if `datasets` holds them in memory."""
    return hub_files(part) if part.path is None else [require_data(part.path)]


def _name(data: Sequence[DataPart], seed: int, files: Sequence[Path], encoding: Encoding) -> str:
    """A hash of all that decides the encoded texts."""
    names = [part.name if len(data) > 1 else "" for part in data]  # ids in a mixture begin with them
    return hash_json(
        {
            "names": names,
            "data": [part.model_dump(exclude={"path"}) for part in data],
            "seed": seed,
            "formats": [file.suffix for file in files],
            "files": [hash_file(file) for file in files],
            "tokenizer": hash_tokenizer(encoding.checkpoint),
            "trust_remote_code": encoding.trust_remote_code,
            "max_length": encoding.max_length,
            "special": encoding.special,
            "date": templates.DATE,
            "code": hash_json([hash_json(inspect.getsource(module)) for module in CODE]),
            "packages": {name: version(name) for name in PACKAGES},
        }
    )[:32]


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    """Holds a lock beside a folder, after others that hold it let it go. The system ends it with the process."""
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, kind)
        yield
