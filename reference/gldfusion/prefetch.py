"""Prepares work in the background: while one piece is used, the next ones are made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

DEPTH = 1
"""number of pieces that are prepared ahead"""


def prefetch(make: Callable[[T], U], pieces: Iterable[T], depth: int = DEPTH) -> Generator[U, None, None]:
    """Yields `make(piece)` for each piece, in order. One thread makes up to `depth` of them ahead.

    An error in `make` is raised where its result would have been yielded. If the caller stops early, the piece that is
    being made is finished, and no other one is begun.

    Args:
        make: makes one piece. Only the thread calls it.
        pieces: the arguments.
        depth: how many pieces are made ahead.
    """
    rest = iter(pieces)
    waiting = deque[Future[U]]()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
        try:
            waiting.extend(pool.submit(make, piece) for piece in islice(rest, depth))
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(pool.submit(make, piece) for piece in islice(rest, 1))
                yield ready
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
