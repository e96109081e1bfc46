"""Shows items as text, and writes them to files: JSON lines, or one HTML page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from gldbench.items.page import page
from gldbench.items.records import Answer, Items, ItemView, Mark, as_json
from gldbench.printable import printable
from gldfusion.errors import InputError
from gldfusion.files import atomic_write

WIDTH = 100
"""columns of the line above each item"""


def as_text(items: Items) -> Iterator[str]:
    """Yields the text of one item after the other: prompt, gold answer, and each response with its grades."""
    for number, view in enumerate(items.items, start=1):
        yield "\n".join(_item(view, items.sides, f"{number} of {len(items.items)}"))


def write_items(items: Items, path: Path, title: str) -> None:
    """Writes items to a file, as an HTML page if its name ends in .html, else as JSON lines.

    Raises:
        InputError: the folder of `path` does not exist.
    """
    require_folder(path)
    if path.suffix in (".html", ".htm"):
        content = page(items, title)
    else:
        lines = (json.dumps(as_json(view, items.sides), ensure_ascii=False) for view in items.items)
        content = "".join(f"{line}\n" for line in lines)
    with atomic_write(path) as file:
        file.write(content.encode())


def require_folder(path: Path) -> None:
    """Checks that a file can be written at `path`, before the work that fills it.

    Raises:
        InputError: its folder does not exist, or it is a folder itself.
    """
    if not path.parent.is_dir():
        raise InputError(f"no folder {path.parent}\nmake it, or choose another file")
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected the name of a file\nend it in .html for a page")


def _item(view: ItemView, sides: tuple[str, ...], place: str) -> Iterator[str]:
    name = f"{view.task} {view.item}" + ("" if view.variant == "default" else f" ({view.variant})")
    yield f"{f'== {name} ':=<{WIDTH - len(place) - 1}} {place}"
    yield from _block("prompt", view.prompt)
    yield from _block("gold", view.gold)
    for letter, side, answer in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", sides, view.answers, strict=False):
        if answer is not None:
            yield from _answer(side if len(sides) == 1 else f"{letter}: {side}", answer)
    yield ""


def _answer(side: str, answer: Answer) -> Iterator[str]:
    verdict = {True: "right", False: "wrong", None: "not scored"}[answer.right]
    yield from _block(f"response of {side} ({verdict})", answer.note if answer.output is None else answer.output)
    for mark in answer.marks:
        yield f"  {'*' if mark is answer.headline else ' '} {printable(_mark(mark))}"


def _mark(mark: Mark) -> str:
    part = f" of {mark.part}" if mark.part else ""
    value = "no score" if mark.value is None else f"{mark.value:g}"
    found = f", found {mark.found!r}" if mark.found else ""
    how = f" by {mark.how}" if mark.how else ""
    reason = f"; {mark.reason}" if mark.reason else ""
    return f"{mark.grader}/{mark.filter}/{mark.metric}{part}: {value}, {mark.status}{found}{how}{reason}"


def _block(label: str, text: str) -> Iterator[str]:
    yield f"-- {label}"
    yield from (f"   {printable(line)}".rstrip() for line in (text or "(empty)").split("\n"))
