"""Reads thousands of distorted files through every loader, in process: it returns, or raises an InputError."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any

import psutil

from tests.campaign.commands import LONGEST_MESSAGE, require_loaded, server
from tests.campaign.loaders import LOADERS
from tests.campaign.samples import inputs_of, reseal, samples_of
from tests.campaign.trials import Failures, Kind, Setting

HANG_SECONDS = 5
"""of processor time for one file"""
MEMORY = 2 * 2**30
"""bytes that a loader may take, beside what the process has already"""
LONGEST_LINE = 1000
"""characters of a line of an error message"""

Message = tuple[str, int, str]
"""("begin" or "end", number of the trial, what failed)"""


def run(setting: Setting, wanted: Sequence[int]) -> Failures:
    """Shares the trials among processes. A process that dies or hangs loses one trial, and the next one goes on."""
    samples = samples_of(setting.shared, commands=not setting.short)
    inputs = inputs_of(setting.shared, models=not setting.short)
    found: SimpleQueue[tuple[int, str] | None] = SimpleQueue()
    threads = []
    for worker in range(setting.workers):
        folder = setting.folder / f"worker-{worker}"
        shutil.copytree(samples, folder / "samples")
        shutil.copytree(inputs / "tasks", folder / "tasks")
        mine = list(wanted[worker :: setting.workers])
        threads.append(threading.Thread(target=_supervise, args=(setting, folder, mine, found), daemon=True))
        threads[-1].start()
    ended = 0
    while ended < len(threads):
        if (result := found.get()) is None:
            ended += 1
        else:
            yield result


def _supervise(setting: Setting, folder: Path, wanted: list[int], found: SimpleQueue[tuple[int, str] | None]) -> None:
    """Runs the trials in a process, and another one after each that dies."""
    context: Any = multiprocessing.get_context("spawn") if setting.short else server()
    pending = list(wanted)
    while pending:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(setting, str(folder), pending, sender))
        process.start()
        sender.close()
        at = -1
        with contextlib.suppress(EOFError):
            while True:
                word, number, what = receiver.recv()
                if word == "begin":
                    at = number
                else:
                    found.put((number, what))
                    pending.remove(number)
                    at = -1
        process.join()
        if process.exitcode == 0:
            break  # all done, or the time is over
        if at in pending:
            name = loader_of(at, setting.short)
            found.put((at, f"{name}: the process died with {process.exitcode} (a hang over {HANG_SECONDS} s is -24)"))
            pending.remove(at)
        elif at == -1 and process.exitcode:
            found.put((-1, f"a process of loaders died between trials with {process.exitcode}"))
            break
    found.put(None)


def loader_of(number: int, short: bool = False) -> str:
    """The name of the loader of a trial: they take turns."""
    names = [name for name, loader in LOADERS.items() if loader.light or not short]
    return names[number % len(names)]


def _work(setting: Setting, folder: str, wanted: list[int], sender: multiprocessing.connection.Connection) -> None:
    """In a process: runs trials one after the other."""
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if not setting.short:
        require_loaded()
    size = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for number in setting.numbers(wanted):
        sender.send(("begin", number, ""))
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + HANG_SECONDS + 1, resource.RLIM_INFINITY))
        sender.send(
            ("end", number, trial(setting.random(number), loader_of(number, setting.short), Path(folder) / "samples"))
        )


def trial(random: Random, name: str, root: Path) -> str:
    """Changes one file, reads it, and puts the file back."""
    loader = LOADERS[name]
    path = random.choice(sorted(root.glob(loader.files)))
    content = path.read_bytes()
    with _changed(path, loader.change(content, random), random, root) as changed:
        try:
            loader.read(root, changed)
        except BaseException as error:
            what = _complaint(error)
            return f"{name}: {what}" if what else ""
    return ""


@contextlib.contextmanager
def _changed(path: Path, content: bytes, random: Random, root: Path) -> Iterator[Path]:
    """The file with another content. Half of the time its checksums are made right, as if it had been made so."""
    kept = {path: path.read_bytes()} | {
        m: m.read_bytes() for m in root.glob("**/manifest.json") if m.parent in path.parents
    }
    changed = path
    path.write_bytes(content)
    if random.random() < 0.5:
        start, _, checksum = path.stem.rpartition("-")
        if len(checksum) == 16:
            changed = path.with_name(f"{start}-{hashlib.sha256(content).hexdigest()[:16]}{path.suffix}")
            path.rename(changed)
        reseal(root, changed)
    try:
        yield changed
    finally:
        changed.unlink(missing_ok=True)
        for place, before in kept.items():
            place.write_bytes(before)


def _complaint(error: BaseException) -> str:
    from gldfusion.errors import InputError

    if not isinstance(error, InputError):
        place = traceback.extract_tb(error.__traceback__)[-1]
        ours = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if "/gldbench/" in f.filename or "/gldfusion/" in f.filename
        ]
        own = f", called at {'/'.join(Path(ours[-1].filename).parts[-2:])}:{ours[-1].lineno}" if ours else ""
        return f"{type(error).__name__}: {str(error)[:160]} ({Path(place.filename).name}:{place.lineno}{own})"
    lines = str(error).splitlines()
    if not 1 <= len(lines) <= LONGEST_MESSAGE:
        return f"a message of {len(lines)} lines: {str(error)[:300]!r}"
    if max(map(len, lines)) > LONGEST_LINE:
        return f"a line of {max(map(len, lines))} characters: {str(error)[:200]!r}"
    if not str(error).replace("\n", "").isprintable():
        return f"a message that is not printable: {str(error)[:200]!r}"
    return ""


KINDS = {
    "fuzz-loaders": Kind(
        summary="a distorted file goes through one loader in process, which returns or raises an InputError of at most "
        "three lines within 5 s",
        trials=10_200,
        short=300,
        run=run,
    )
}
