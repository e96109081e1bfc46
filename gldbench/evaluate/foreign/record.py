"""What a file of another harness says about the responses to one item."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """The responses to one item."""

    where: str
    """the place in the file, for messages"""
    outputs: tuple[str, ...]
    """one or more responses, in the order of the file"""
    ids: tuple[str, ...] = ()
    """what may be the item's own id"""
    texts: tuple[str, ...] = ()
    """texts in which the question and its options stand: fields of a row, or a whole prompt"""
