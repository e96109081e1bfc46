"""Graph pairs from the logits of real models, read from checkpoints, source caches or .npy files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError

import numpy as np

from gldbench.gw.families import REAL, Family
from gldbench.gw.families.logits import NODES, VALUES, Nodes, Values, graph_of
from gldbench.gw.problem import Problem
from gldbench.spec import load_spec
from gldbench.worlds.build import world_folder
from gldfusion.cache import SourceCache
from gldfusion.data import read_examples
from gldfusion.errors import InputError
from gldfusion.reading import plain_line
from gldfusion.sources import Example, LiveSource, SequenceSignal

MAX_TEXTS = 64
"""a data file is read up to this many texts"""
MAX_LENGTH = 1024
"""a checkpoint reads this many tokens of a text at most"""


@dataclass(frozen=True)
class RealLogits:
    """The logits of two models on the same texts, one signal per response."""

    pivot: tuple[SequenceSignal, ...]
    source: tuple[SequenceSignal, ...]


def read_logits(pivot: Path, source: Path, texts: Path | None, k: int = 10) -> RealLogits:
    """Reads the logits of both sides.

    Args:
        pivot: a .npy file (T x k), the folder of a source cache, or the folder of a checkpoint.
        source: the other side, in one of the same forms.
        texts: JSON lines {"prompt", "response"}. They may be None only if both sides are .npy files.
        k: logits that are kept per position of a checkpoint.

    Raises:
        InputError: a path has none of these forms, the texts are missing, or the sides differ in their number of
            responses.
    """
    examples = [] if texts is None else read_examples(texts)[:MAX_TEXTS]
    found = [_read(path, examples, k) for path in (pivot, source)]
    if len(found[0]) != len(found[1]):
        raise InputError(
            f"{pivot} and {source} must hold the same number of responses, got {len(found[0])} and {len(found[1])}\n"
            "give two .npy files, or two folders with --texts"
        )
    return RealLogits(*found)


def logits_of_run(run: Path) -> RealLogits:
    """Reads the logits of a run of `gldbench run`: of one of its checkpoints, and of the cache of its first source.

    The checkpoint is the one with the shortest name among those with "gld" in their name, or among all if there are
    none.

    Raises:
        InputError: the run has no checkpoints yet.
    """
    spec = load_spec(str(run / "spec.yaml"))
    folders = (path.parent for path in (run / "checkpoints").glob("*-seed*/config.json"))
    checkpoints = sorted(folder for folder in folders if folder.name.rpartition("-seed")[2].isdigit())
    if not checkpoints:
        raise InputError(
            f"{run} holds no checkpoints\nfinish `gldbench run {spec.name}` first, or give --pivot and --source"
        )
    trained = [path for path in checkpoints if "gld" in path.name] or checkpoints
    pivot = min(trained, key=lambda path: (len(path.name), path.name))  # controls have longer names
    cache = world_folder(spec.world, run.parent / "worlds") / "cache" / next(iter(spec.world.sources))
    seed = pivot.name.rpartition("-seed")[2]
    return read_logits(pivot, cache, run / "data" / f"fusion-seed{seed}.jsonl", spec.world.k)


def real_families(logits: RealLogits) -> dict[str, Family]:
    """Makes the families "real-<nodes>-<values>". Their size is the number of responses joined to one graph."""
    makers = [_maker(logits, nodes, values) for nodes in NODES for values in VALUES]
    return dict(zip(REAL, makers, strict=True))


def _maker(logits: RealLogits, nodes: Nodes, values: Values) -> Family:
    def make(size: int, rng: np.random.Generator) -> Problem:
        available = len(logits.pivot)
        chosen = rng.choice(available, size=min(size, available), replace=False)
        sides = [_join([side[i] for i in chosen]) for side in (logits.pivot, logits.source)]
        if nodes == "rank":  # ggw_sum is defined for equal numbers of nodes
            k = min(side.values.shape[1] for side in sides)
            sides = [_narrow(side, k) for side in sides]
        return Problem(*(graph_of(side, nodes, values) for side in sides))

    return make


def _join(parts: list[SequenceSignal]) -> SequenceSignal:
    """The positions of several responses as one signal."""
    fields = (*parts[0].held, "starts")
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


def _narrow(signal: SequenceSignal, k: int) -> SequenceSignal:
    """The signal with the k largest logits of each position."""
    return replace(signal, values=signal.values[:, :k], ids=None if signal.ids is None else signal.ids[:, :k])


def _read(path: Path, examples: list[Example], k: int) -> tuple[SequenceSignal, ...]:
    if path.suffix == ".npy" and path.is_file():
        return (_from_array(path),)
    if not examples and path.is_dir():
        raise InputError(f"{path} needs texts to be read\ngive --texts FILE with JSON lines of prompt and response")
    if (path / "meta.json").is_file():
        return tuple(SourceCache(path.name, path).read(examples))
    if (path / "config.json").is_file():
        return tuple(LiveSource(path.name, path, k, MAX_LENGTH).read(examples))
    raise InputError(
        f"{path} holds no logits\n"
        "give a .npy file, the folder of a source cache (with meta.json) or of a checkpoint (with config.json)"
    )


def _from_array(path: Path) -> SequenceSignal:
    values = read_array(path)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{path} must hold logits T x k (positions x kept logits), got shape {list(values.shape)}")
    descending = -np.sort(-values.astype(np.float32), axis=1)
    return SequenceSignal(values=descending, ids=None, lse=None, mean=None, std=None, starts=np.full(len(values), -1))


def read_array(path: Path) -> np.ndarray:
    """Reads a .npy file.

    Raises:
        InputError: the file does not exist, or is not a .npy file of numbers.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TokenError) as error:  # the header is Python source
        raise InputError(f"cannot read {path} as a .npy file: {plain_line(error)}\nwrite it with numpy.save") from None
