"""The process of the overlay environment that runs OpenCompass, always in the sandbox. It is started once and kept."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gldbench import overlay
from gldbench.grade.opencompass import inside
from gldbench.sandbox import launch

START_SECONDS = 600.0
"""of wall time for importing OpenCompass, on a busy machine"""
SPARE_SECONDS = 60.0
"""of wall time for a reply, beside the time that the process gives to the items"""

Found = Mapping[str, Any]
"""{"values": {metric: value}, "found": text, "said": text}, or {"error": reason}, of one item"""


class WorkerError(Exception):
    """The process ended, or did not answer in time."""


class Worker:
    """OpenCompass in a process of its own. Close it, or leave that to the end of our process."""

    def __init__(self, place: Path) -> None:
        """Starts the process and waits until OpenCompass is imported.

        Raises:
            WorkerError: OpenCompass does not start.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, `close` closes it
        self._folder = tempfile.TemporaryDirectory(prefix="gldbench-opencompass-")
        self._line = b""
        with _command(place) as (command, descriptors):
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=self._folder.name,
                env={},
                pass_fds=descriptors,
                start_new_session=True,
            )
        try:
            from gldbench.grade.sentences import sentence_model  # imports nltk, which takes time

            self._send({"sentence_model": sentence_model()})
            self.version = str(self._reply(START_SECONDS)["ready"])
        except BaseException:
            self.close()
            raise

    def grade(self, job: Mapping[str, Any]) -> Iterator[tuple[str, Found]]:
        """Yields (item id, what OpenCompass says) as soon as it is known.

        Args:
            job: as `inside.py` takes it.

        Raises:
            WorkerError: the process ended or hung. The error's second argument names the items that it tried last.
        """
        trying: list[str] = []
        seconds = 0.0
        try:
            self._send(job)
            while "done" not in (reply := self._reply(seconds + SPARE_SECONDS)):
                if "trying" in reply:
                    trying, seconds = list(reply["trying"]), float(reply["seconds"])
                yield from reply.get("graded", {}).items()
        except WorkerError as error:
            self.close()
            raise WorkerError(str(error), trying) from None

    @property
    def alive(self) -> bool:
        """Whether the process can take a job."""
        return self._process.returncode is None and self._process.poll() is None

    def close(self) -> None:
        """Ends the process, and with it everything in its sandbox."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            _close(stream)
        self._folder.cleanup()

    def _send(self, value: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._ending()) from None

    def _reply(self, seconds: float) -> dict[str, Any]:
        """The next line of the process."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._line:
                if not selector.select(seconds):
                    raise WorkerError(f"OpenCompass did not answer within {seconds:g} s")
                chunk = os.read(self._process.stdout.fileno(), 2**20)
                if not chunk:
                    raise WorkerError(self._ending())
                self._line += chunk
        line, _, self._line = self._line.partition(b"\n")
        return json.loads(line)

    def _ending(self) -> str:
        """Why the process ended, as far as it says."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 2_000))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"the process of OpenCompass ended: {lines[-1][:200] if lines else 'it says nothing'}"


def _close(stream: IO[bytes] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except BrokenPipeError:
        pass  # closing writes what the ended process did not read


@contextmanager
def _command(place: Path) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The command line of the sandboxed process, and the descriptors that it must inherit."""
    source = Path(inside.__file__).read_text(encoding="utf-8")
    command = [str(overlay.python(place)), "-I", "-B", "-W", "ignore", "-c", source]
    view = launch.View((*launch.system_libraries(), *overlay.needs(place)), writable_mb=1024, processes=True)
    with launch.shut_in(view, command) as launched:
        yield launched


_running: dict[Path, Worker] = {}
_one_at_a_time = threading.RLock()


def grade_all(place: Path, job: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Found]:
    """What OpenCompass says about every item: item id -> values, or the reason why there are none.

    Where the process dies or hangs, the items that it tried last get that reason, and a new process grades the rest.

    Args:
        place: folder of the overlay environment.
        job: the job as `inside.py` takes it, without its items.
        items: [{"id", "output", "row"}, ...]
    """
    found: dict[str, Found] = {}
    with _one_at_a_time:
        while rest := [item for item in items if item["id"] not in found]:
            try:
                worker = _worker(place)
            except WorkerError as error:
                return found | {item["id"]: {"error": f"OpenCompass does not start: {error}"} for item in rest}
            try:
                for name, one in worker.grade({**job, "items": rest}):
                    found[name] = one
                reason, trying = "OpenCompass gave no result", []
            except WorkerError as error:
                reason, trying = error.args
            for name in trying or [item["id"] for item in rest]:
                found.setdefault(name, {"error": reason})
    return found


def _worker(place: Path) -> Worker:
    if place in _running and not _running[place].alive:
        _running.pop(place).close()
    if place not in _running:
        _running[place] = Worker(place)
    return _running[place]


@atexit.register
def close_all() -> None:
    """Ends every process of OpenCompass that this process started."""
    while _running:
        _running.popitem()[1].close()
