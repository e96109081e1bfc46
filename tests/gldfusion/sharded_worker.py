"""One of two processes that fuse recipes in float64 with FSDP2; started by test_sharded.py.

Arguments as those of double_worker.py, and perhaps "beside": then the process dies while a thread writes the state,
after the training has gone on by a step; or "full": then this thread finds a full disk. The file `<name>.parts` gets
what the process held after the last step.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import gldfusion.fuse
import gldfusion.pivot
import gldfusion.state
from gldfusion.prepare import Fusion
from gldfusion.state import StateWriter
from gldfusion.trained import Trained
from tests.gldfusion.double_worker import KILLED, fuse_all

collect = gldfusion.fuse.collect
load_model = gldfusion.pivot.load_model
loaded = 0


def load_and_count(*arguments: Any) -> Any:
    """Counts how often this process reads the weights of a pivot."""
    global loaded
    loaded += 1
    return load_model(*arguments)


def collect_and_note(fusion: Fusion) -> Trained:
    """Notes class, placement and size of every parameter, before the weights are collected."""
    parameters = {
        name: [type(p).__name__, p.placements[0].is_shard(0), p.numel(), p.to_local().numel()]
        for name, p in fusion.model.named_parameters()
    }
    moments = [type(v).__name__ for s in fusion.optimizer.state.values() for n, v in s.items() if n != "step"]
    note = {"parameters": parameters, "moments": moments, "loaded": loaded}
    rank = os.environ["RANK"]
    fusion.output.with_name(f"{fusion.output.name}.{rank}.parts").write_text(json.dumps(note))
    return collect(fusion)


def die_beside(last: int) -> None:
    """Lets the state of step `last` be written only when the next step is done; then the process dies."""
    further = threading.Event()
    train_step, written, seal = gldfusion.fuse.train_step, gldfusion.state.written, StateWriter._seal

    def step_and_tell(fusion: Fusion, step: int, work: Any) -> dict[str, Any]:
        entry = train_step(fusion, step, work)
        if step == last:
            further.set()
        return entry

    def wait_and_write(writing: Any, folder: Path) -> None:
        if folder.name == f"step-{last}.part":
            assert further.wait(60)
        written(writing, folder)

    def die(self: StateWriter, temporary: Path, path: Path, content: Any) -> None:
        if path.name == f"step-{last}":
            os._exit(KILLED)
        seal(self, temporary, path, content)

    gldfusion.fuse.train_step, gldfusion.state.written, StateWriter._seal = step_and_tell, wait_and_write, die


def fill_disk(last: int) -> None:
    """Lets the thread of the main process find a full disk when it writes the state of step `last`."""
    written = gldfusion.state.written

    def write(writing: Any, folder: Path) -> None:
        written(writing, folder)
        if folder.name == f"step-{last}.part" and os.environ["RANK"] == "0":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    gldfusion.state.written = write


if __name__ == "__main__":
    gldfusion.fuse.collect = collect_and_note
    gldfusion.pivot.load_model = load_and_count
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    folder, last, *trouble = sys.argv[1:]
    if trouble:
        {"beside": die_beside, "full": fill_disk}[trouble[0]](int(last))
    fuse_all(Path(folder), 0 if trouble else int(last))
