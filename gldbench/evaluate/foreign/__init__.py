"""Responses in the files of other harnesses: one file for each format, in `READERS`; `match` finds their items.

`READERS` names a function (path) -> records. A record holds what the file says about one item: ids, texts in which the
question stands, and the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gldbench.evaluate.foreign import evalplus, inspect_log, lm_eval, opencompass
from gldbench.evaluate.foreign.files import first_object
from gldbench.evaluate.foreign.record import Record
from gldfusion.errors import InputError, require_known

READERS: dict[str, Callable[[Path], list[Record]]] = {
    # samples_*.jsonl of `lm_eval --log_samples`
    "lm-eval": lm_eval.read,
    # samples.jsonl, with "solution" or "completion"
    "evalplus": evalplus.read,
    # predictions/<model>/<dataset>.json
    "opencompass": opencompass.read,
    # logs/*.eval and logs/*.json
    "inspect": inspect_log.read,
}
OWN = "gldbench"
"""the format of `own.read_outputs`"""
AUTO = "auto"


def format_of(path: Path, wanted: str = AUTO) -> str:
    """Returns the format of a file: the wanted one, or the one that its name and first record tell.

    Args:
        path: a file of responses.
        wanted: "auto", "gldbench" or a key of READERS.

    Raises:
        InputError: the format is unknown, or the file has none of the known ones.
    """
    if wanted != AUTO:
        require_known("format", wanted, [OWN, *READERS])
        return wanted
    if path.suffix == ".eval":
        return "inspect"
    first = first_object(path)
    if first is None or "item_id" in first or "output" in first:
        return OWN  # its reader says what is wrong with the file
    if "eval" in first and "version" in first:
        return "inspect"
    if isinstance(first.get("0"), dict) and "prediction" in first["0"]:
        return "opencompass"
    if "doc" in first and "resps" in first:
        return "lm-eval"
    if "task_id" in first and ("solution" in first or "completion" in first):
        return "evalplus"
    raise InputError(
        f"{path} is in none of the known formats: its first record has the keys {', '.join(list(first)[:8])[:120]}\n"
        f"expected lines with item_id and output, or a file of {', '.join(READERS)}; --format names it"
    )
