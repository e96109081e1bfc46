"""Saving and loading of training states.

The folder of a training holds its last two states, each in a subfolder that is named after its step and sealed by a
manifest of checksums. A state on disk is therefore complete or absent, and a damaged one is noticed. A state is loaded
only for the recipe, pivot, sources and data that it was saved for.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed import ProcessGroup, new_group

from gldfusion.errors import InputError
from gldfusion.files import remove, whole_or_absent, write_json
from gldfusion.launch import PATIENCE
from gldfusion.manifest import MANIFEST, flush, read_manifest, verify_manifest, write_manifest
from gldfusion.reading import plain_line, read_object
from gldfusion.sharding import SHARDS, Parts, begin_shards, load_shards, written

Entry = dict[str, Any]
"""what a training notes about one step"""
Log = list[Entry]

LIVE_LOG, BEST = "training_log.jsonl", "best"
"""the growing log of a training and its best checkpoint, in the folder of its states"""

KEPT = 2
"""number of states that a training keeps: if the last one is damaged, it goes on from the one before it"""
_NAME = re.compile(r"step-(\d+)")
_log = logging.getLogger(__name__)


def states(folder: Path) -> list[Path]:
    """The saved states in the folder of a training, the last one first."""
    found = {int(match[1]): path for path in folder.glob("*") if (match := _NAME.fullmatch(path.name))}
    return [found[step] for step in sorted(found, reverse=True)]


class StateWriter:
    """Saves the states of a training.

    A state is sealed by a manifest, and then all older ones but one are deleted. The state of a sharded training is
    copied into main memory, and threads write it while the training goes on.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, identity: Mapping[str, str], sharded: Parts | None = None
    ) -> None:
        """Writes nothing yet.

        Args:
            accelerator: holds the model and the optimizer, unless the training is sharded.
            folder: folder of the training's states.
            identity: hashes of the recipe, pivot, sources and data, by name.
            sharded: what this process holds of a sharded training, whose states are written in parts.
        """
        self._accelerator, self._folder, self._identity, self._sharded = accelerator, folder, identity, sharded
        self._group = None if sharded is None else cast(ProcessGroup, new_group(backend="gloo", timeout=PATIENCE))
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._writing: Future[None] | None = None

    def save(self, log: Log) -> None:
        """Saves a state, or begins to, when the one before it is whole.

        Args:
            log: one entry for each step so far. It is not empty.

        Raises:
            OSError: the disk is full, or was when the state before this one was written. The older states are kept.
        """
        self.wait()
        path = self._folder / f"step-{log[-1]['step']}"
        temporary = path.with_name(path.name + ".part")
        if self._accelerator.is_main_process:
            remove_unfinished(self._folder)
        self._accelerator.wait_for_everyone()
        content = {"identity": self._identity, "log": [*log]}
        if self._sharded is None:
            with self._whole(temporary, path):
                _save_whole(self._accelerator, temporary)
                self._accelerator.wait_for_everyone()
                self._seal(temporary, path, content)
            self._accelerator.wait_for_everyone()
            return
        assert self._group is not None
        shards = begin_shards(self._sharded, temporary, self._group)
        self._writing = self._threads.submit(self._finish, shards, temporary, path, content)

    def close(self) -> None:
        """Waits as `wait` does, and ends the thread."""
        try:
            self.wait()
        finally:
            self._threads.shutdown()

    def wait(self) -> None:
        """Waits until the last state is whole.

        Raises:
            OSError: the disk is full.
        """
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _finish(self, shards: Future[Any], temporary: Path, path: Path, content: dict[str, Any]) -> None:
        """What the thread does: it waits for the parts of all processes, and seals them."""
        with self._whole(temporary, path):
            written(shards, temporary)
            self._seal(temporary, path, content)

    @contextmanager
    def _whole(self, temporary: Path, path: Path) -> Iterator[None]:
        """If the block fails, nothing is left of the state."""
        try:
            with whole_or_absent(temporary, path):
                yield
        except BaseException:
            if self._accelerator.is_main_process:
                remove_unfinished(self._folder)
            raise

    def _seal(self, temporary: Path, path: Path, content: dict[str, Any]) -> None:
        """Seals a state whose parts are all written, and deletes older ones. Only the main process does something."""
        if not self._accelerator.is_main_process:
            return
        write_json(temporary / "log.json", content)
        write_manifest(temporary, _files(temporary))
        remove(path)  # a damaged state of the same step; an intact one would have been loaded
        os.rename(temporary, path)
        flush(self._folder)
        for old in states(self._folder)[KEPT:]:
            remove(old)


def load_state(
    accelerator: Accelerator, folder: Path, identity: Mapping[str, str], sharded: Parts | None = None
) -> tuple[Log, int]:
    """Loads the last intact state, if there is one, into the model and optimizer.

    A state in parts is loaded by any number of processes, sharded or not. A warning names every damaged state that was
    passed over. Training from an older state gives bitwise the same weights: it only repeats steps.

    Returns:
        The log so far and the number of the next step, from 0. Without a saved state: an empty log and 0.

    Raises:
        InputError: the state belongs to another recipe, pivot, data or sources, or all saved states are damaged.
    """
    saved = states(folder)
    path = _last_intact(saved, accelerator.is_main_process)
    if path is None:
        _require_nothing(folder, saved)
        return [], 0
    content = _read_log(path)
    different = [name for name, value in identity.items() if content["identity"].get(name) != value]
    if different:
        raise InputError(
            f"the saved state {folder} belongs to another {', '.join(different)}\n"
            "delete it to start again from step 1, or choose another output"
        )
    if sharded is not None and not (path / SHARDS).is_dir():
        raise InputError(
            f"the saved state {path} was written without FSDP, and cannot be spread over processes\n"
            f"go on without FSDP, or delete {folder} to start again from step 1"
        )
    try:
        if (path / SHARDS).is_dir():
            load_shards(sharded or _whole(accelerator), path)
        else:
            frozen = any(not p.requires_grad for model in accelerator._models for p in model.parameters())
            accelerator.load_state(str(path), strict=not frozen)  # weights that are not trained are in no state
    except Exception as error:  # torch raises errors of many classes
        raise InputError(
            f"the saved state {path} cannot be loaded ({type(error).__name__}: {plain_line(error)})\n"
            f"another version of torch or accelerate may have written it; delete {folder} to start again from step 1"
        ) from error
    return content["log"], content["log"][-1]["step"]


def _save_whole(accelerator: Accelerator, folder: Path) -> None:
    """Writes the state of a training that is not sharded."""
    hook = accelerator.register_save_state_pre_hook(_leave_out_frozen)
    try:  # torch's own format, because safetensors would drop tied weights and print a warning
        accelerator.save_state(str(folder), safe_serialization=False)
    finally:
        hook.remove()


def _whole(accelerator: Accelerator) -> Parts:
    """The model and the optimizer of a training that is not sharded."""
    model = accelerator.unwrap_model(accelerator._models[-1]).model
    return Parts(model, accelerator._optimizers[-1].optimizer)


def _files(folder: Path) -> list[str]:
    """The paths of all files in a folder, also of hidden ones, which torch writes."""
    return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]


def _leave_out_frozen(models: list[nn.Module], weights: list[dict[str, Tensor]], folder: str) -> None:
    """Leaves weights that are not trained out of a state that Accelerate writes: they are those of the pivot.

    Args:
        models: the models of the training.
        weights: their weights by name, which are changed.
        folder: not used.
    """
    for model, tensors in zip(models, weights, strict=True):
        trained = {name for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
        if all(p.requires_grad for p in model.parameters()):
            continue
        for name in [name for name in tensors if name not in trained]:
            del tensors[name]


def _read_log(path: Path) -> dict[str, Any]:
    """Reads log.json of a state.

    Raises:
        InputError: it does not hold what `save_state` writes.
    """
    mend = f"delete {path.parent} to start again from step 1"
    content = read_object(path / "log.json", "log of a saved state", mend)
    identity, log = content.get("identity"), content.get("log")
    entries = log if isinstance(log, list) else []
    whole = entries and all(isinstance(entry, dict) and "step" in entry for entry in entries)
    if not isinstance(identity, dict) or not whole or not isinstance(entries[-1]["step"], int):
        raise InputError(f"{path / 'log.json'} is no log of a saved state: it lacks its identity or its steps\n{mend}")
    return content


def _last_intact(saved: list[Path], warn: bool) -> Path | None:
    """The first state of `saved` that holds the files that were written, and no others."""
    about = "a saved state", "this state is not used"
    for path in saved:
        try:
            listed = read_manifest(path, *about)
            verify_manifest(
                path, *about, {*listed, *_files(path)} - {MANIFEST}
            )  # accelerate would load added files too
        except InputError as error:
            if warn:
                _log.warning("warning: %s", str(error).replace("\n", "; "))
        else:
            return path
    return None


def _require_nothing(folder: Path, saved: list[Path]) -> None:
    """Checks that a folder without an intact state holds nothing that a training could go on from.

    Raises:
        InputError: it holds damaged states, or something else than states.
    """
    if saved:
        raise InputError(
            f"every saved state in {folder} is damaged ({', '.join(path.name for path in saved)})\n"
            f"delete the folder to start again from step 1: rm -r {folder}"
        )
    known = {LIVE_LOG, BEST}
    if other := sorted(p.name for p in folder.glob("*") if p.name not in known and not p.name.endswith(".part")):
        raise InputError(
            f"{folder} holds no saved state of this version, but {', '.join(other[:3])}\n"
            "delete the folder to start again from step 1, or choose another output"
        )


def remove_unfinished(folder: Path) -> None:
    """Deletes what a killed process left of a state, a log or a checkpoint that it was writing."""
    for path in [*folder.glob("*.part"), *folder.glob("evaluated-*")]:
        remove(path)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def remove_states(folder: Path) -> None:
    """Deletes all states of a training."""
    remove(folder)
