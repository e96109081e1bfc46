"""Divides texts among processes, micro-batches and rows, so that each has about as many tokens."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def deal(sizes: Sequence[int], groups: int, most: int | None = None) -> list[list[int]]:
    """Divides pieces of work among groups so that the largest group is small: the largest piece left goes to the
    group with the least work.

    Args:
        sizes: the work in each piece.
        groups: number of groups, at most the number of pieces.
        most: most pieces in a group. None: no limit.

    Returns:
        The pieces of each group, as indices into `sizes`, in ascending order. No group is empty.
    """
    out: list[list[int]] = [[] for _ in range(groups)]
    heap = [(0, group) for group in range(groups)]
    for piece in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        load, group = heapq.heappop(heap)
        out[group].append(piece)
        if most is None or len(out[group]) < most:
            heapq.heappush(heap, (load + sizes[piece], group))
    return [sorted(group) for group in out]


def even_out(groups: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[list[int]]:
    """Swaps pieces of the largest group with smaller pieces of others, each time the two that help most.

    Args:
        groups: the pieces of each group, as indices into `sizes`.
        sizes: the work in each piece.

    Returns:
        As many groups with as many pieces, whose largest is not larger than before.
    """
    out = [list(group) for group in groups]
    loads = [sum(sizes[i] for i in group) for group in out]
    while True:
        largest = max(range(len(out)), key=loads.__getitem__)
        best = (loads[largest], 0, 0, 0)
        for other, load in enumerate(loads):
            if loads[largest] - load < 2:
                continue
            for own, i in enumerate(out[largest]):
                for theirs, j in enumerate(out[other]):
                    moved = sizes[i] - sizes[j]
                    if moved > 0:
                        best = min(best, (max(loads[largest] - moved, load + moved), other, own, theirs))
        most, other, own, theirs = best
        if most == loads[largest]:
            return [sorted(group) for group in out]
        moved = sizes[out[largest][own]] - sizes[out[other][theirs]]
        out[largest][own], out[other][theirs] = out[other][theirs], out[largest][own]
        loads[largest], loads[other] = loads[largest] - moved, loads[other] + moved


def share_step(lengths: Sequence[int], processes: int, size: int, packed: bool) -> list[list[list[int]]]:
    """Divides the texts of one optimizer step among processes and micro-batches.

    Packed texts are dealt by tokens, so all processes and micro-batches have nearly the same work. Texts that will be
    padded are dealt in the order of their lengths, so the texts of a micro-batch have similar lengths.

    Args:
        lengths: tokens of each text of the step, in descending order. Their number is a multiple of `processes`.
        processes: number of processes.
        size: most texts in a micro-batch.
        packed: whether the micro-batches are packed.

    Returns:
        [process][micro-batch][text]: indices into `lengths`. All processes have the same number of micro-batches.
    """
    each = len(lengths) // processes
    number = -(-each // size)
    if not packed:
        own = [range(process, len(lengths), processes) for process in range(processes)]
        return [[list(mine[first : first + size]) for first in range(0, each, size)] for mine in own]
    batches = deal(lengths, processes * number, -(-each // number))
    loads = [sum(lengths[i] for i in batch) for batch in batches]
    return [[batches[i] for i in mine] for mine in deal(loads, processes, number)]
