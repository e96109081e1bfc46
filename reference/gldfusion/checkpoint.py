"""Checks of a checkpoint's files before a library reads them, and errors of that library as errors in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open

from gldfusion.errors import InputError
from gldfusion.files import lock, remove
from gldfusion.hashes import MODEL_FILES, TOKENIZER_FILES
from gldfusion.manifest import MANIFEST, read_manifest, verify_manifest
from gldfusion.paths import hidden, require_output
from gldfusion.reading import plain_line, read_json, read_object, shown

CHANGED = "make or copy the checkpoint again; if you changed its files yourself, delete manifest.json"
BROKEN = "make or copy the checkpoint again"


def require_intact(path: Path, patterns: Sequence[str] = (*MODEL_FILES, *TOKENIZER_FILES)) -> None:
    """Compares files of a checkpoint with its manifest. A checkpoint without a manifest of ours is not checked.

    Args:
        path: folder of the checkpoint.
        patterns: which files to check.

    Raises:
        InputError: the manifest or a file is damaged, or a file was added or is missing. The message names it.
    """
    manifest = path / MANIFEST
    if not manifest.exists():
        return
    content = read_json(manifest, "manifest", CHANGED)
    if not isinstance(content, dict) or not {"manifest", "files"} & content.keys():
        return  # of another program
    _compare(path, patterns, "a checkpoint", CHANGED)


def require_free(output: Path) -> None:
    """Checks that nothing is where a fused checkpoint is to be written.

    A fused checkpoint that is there is compared with its manifest. A damaged one is refused too and not made again
    unasked: its folder may hold files of the user, and a new fusion can take days.

    Raises:
        InputError: something is there. The message says whether it is a complete fused checkpoint.
    """
    if not require_output(output).exists():
        return
    if not (output / "fusion.json").exists():
        raise InputError(f"will not overwrite {output}: it already exists\nmove it away or choose another output")
    if problem := fused_problem(output):
        raise InputError(
            f"the fused checkpoint {output} is not intact\n{problem}\n"
            f"delete the folder {output} and run the same command again: it is made again"
        )
    _remove_finished_states(output)
    raise InputError(
        f"will not overwrite {output}: it already exists and is a complete fused checkpoint\n"
        "move it away or choose another output"
    )


def _remove_finished_states(output: Path) -> None:
    """Deletes the training states of a complete fused checkpoint: a process was killed just before it did so."""
    folder = hidden(output, "state")
    finished = read_object(output / "fusion.json", "record of a fusion", BROKEN).get("identity")
    logs = [read_object(log, "log of a saved state", f"delete {folder}") for log in folder.glob("step-*/log.json")]
    if logs and all(log.get("identity") == finished for log in logs):
        with lock(hidden(output, "lock")):
            remove(folder)


def fused_problem(path: Path) -> str | None:
    """Says what is wrong with a fused checkpoint; None if it is complete and intact.

    Raises:
        InputError: never. The text is the first line of the error that reading it would raise.
    """
    try:
        _compare(path, (*MODEL_FILES, *TOKENIZER_FILES), "a fused checkpoint", BROKEN)
        verify_manifest(path, "a fused checkpoint", BROKEN)
    except InputError as error:
        return str(error).split("\n")[0]
    return None


def _compare(path: Path, patterns: Sequence[str], what: str, mend: str) -> None:
    listed = read_manifest(path, what, mend)
    present = {file.relative_to(path).as_posix() for pattern in patterns for file in path.glob(pattern)}
    wanted = {name for name in listed if any(Path(name).match(pattern) for pattern in patterns)}
    verify_manifest(path, what, mend, sorted(present | wanted))


def require_settings(path: Path) -> None:
    """Checks that the JSON files of a checkpoint are JSON. Libraries pass over some of them in silence if not.

    Raises:
        InputError: a file is not. The message names it.
    """
    for pattern in ("*config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json"):
        for file in sorted(path.glob(pattern)):
            read_object(file, "file of a checkpoint", BROKEN)


DEPTHS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
"""names of the number of layers in configurations"""


def require_depth(path: Path) -> int:
    """Checks that the configuration asks for no more layers than there are stored tensors.

    transformers builds all layers before it looks at the weights, which takes hours for a damaged number.

    Returns:
        How many numbers the weights hold.

    Raises:
        InputError: it asks for more, or the weights cannot be read.
    """
    config = read_object(path / "config.json", "configuration", BROKEN)
    sizes: list[int] = []
    with reading(path, "the weights"):
        for file in path.glob("*.safetensors"):
            with safe_open(file, "numpy") as weights:
                sizes += [math.prod(weights.get_slice(name).get_shape()) for name in weights.keys()]  # noqa: SIM118
    for name in DEPTHS:
        depth = config.get(name)
        if isinstance(depth, int) and depth > len(sizes):
            raise InputError(
                f"not a checkpoint: {path / 'config.json'} says {name} = {shown(depth)}, "
                f"but the weights hold {len(sizes)} tensors\n{BROKEN}"
            )
    return sum(sizes)


DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""names of floating-point types in safetensors files -> names in torch"""


def stored_dtype(path: Path) -> str:
    """Torch's name of the floating-point type in which most weights of a checkpoint are stored."""
    numbers: Counter[str] = Counter()
    with reading(path, "the weights"):
        for file in path.glob("*.safetensors"):
            with safe_open(file, "numpy") as weights:
                for name in weights.keys():  # noqa: SIM118
                    part = weights.get_slice(name)
                    numbers[part.get_dtype()] += math.prod(part.get_shape())
    known = [name for name, _ in numbers.most_common() if name in DTYPES]
    return DTYPES[known[0]] if known else "float32"


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turns every error of a library that reads a damaged checkpoint into an `InputError`.

    transformers, tokenizers and safetensors raise errors of many classes, bare `Exception` among them.

    Args:
        path: folder of the checkpoint.
        what: what is read, for the message: "the model".

    Raises:
        InputError: the block failed.
    """
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        # a Rust library that panics raises this class, which is no Exception and cannot be imported
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not loaded here; the files may be sound
            raise
        if isinstance(error, ImportError):
            raise InputError(
                f"{what} in {path} needs a library that is not installed\n{plain_line(error)}\n"
                "install it, or use a checkpoint that does not need it (a quantised one: its unquantised original)"
            ) from error
        raise InputError(
            f"not a checkpoint: {what} in {path} cannot be loaded ({type(error).__name__})\n"
            f"{plain_line(error)}\n{BROKEN}, or install the version of transformers that wrote it"
        ) from error
