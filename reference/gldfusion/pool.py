"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerContext
from typing import Any

from gldfusion.errors import InputError


def worker_context(module: str) -> ForkServerContext:
    """Starts workers from a server process that has no threads and imports a module once for all of them.

    Args:
        module: name of the module that holds the work. It should import what the workers need, for example torch.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


@contextmanager
def worker_pool(
    workers: int, context: ForkServerContext, start: Callable[..., None], arguments: Sequence[Any], mend: str
) -> Iterator[ProcessPoolExecutor]:
    """Worker processes for a `with` block. They end with the block, and with this process even if it is killed.

    Args:
        workers: number of processes.
        context: see `worker_context`.
        start: is called in each worker before its first piece of work.
        arguments: of `start`.
        mend: last line of the message about a killed worker: what the user can do.

    Raises:
        InputError: the system killed a worker.
    """
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(start, tuple(arguments)))
    try:
        yield pool
    except BaseException as error:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise InputError(f"a worker process was killed (often because memory ran out)\n{mend}") from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Sets up a worker: it leaves Ctrl-C to the parent, and ends with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "started by worker_pool"
    threading.Thread(target=lambda: (wait_for([parent.sentinel]), os._exit(1)), daemon=True).start()
    start(*arguments)
