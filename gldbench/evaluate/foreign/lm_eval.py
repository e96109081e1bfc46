"""Reads `samples_<task>_<date>.jsonl`, which lm-eval writes with --log_samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gldbench.evaluate.foreign.files import ids_of, leaves, objects, text_of
from gldbench.evaluate.foreign.record import Record
from gldfusion.errors import InputError
from gldfusion.reading import shown


def read(path: Path) -> list[Record]:
    """One record for each row of the data set. The file has a line for each of them and each filter.

    The outputs are the model's unfiltered responses. For a task that scores log-likelihoods, the output is our JSON
    text with the log-likelihood of each option.

    Raises:
        InputError: a line has no `doc`, `doc_id` and `resps`, or two lines of a row hold different responses.
    """
    found: dict[str, Record] = {}
    for where, line in objects(path):
        missing = [name for name in ("doc", "doc_id", "resps") if name not in line]
        if missing or not isinstance(line["doc"], dict):
            raise InputError(
                f"{where} has no {', '.join(missing) or 'object under doc'}\n"
                "expected a file samples_*.jsonl of lm-eval (--log_samples)"
            )
        row: dict[str, Any] = line["doc"]
        prompts = line.get("arguments", [])
        record = Record(where, _outputs(line["resps"], where), ids_of(row), (*leaves(row), *leaves(prompts)))
        key = json.dumps([line["doc_id"], line.get("doc_hash")])
        before = found.setdefault(key, record)
        if before.outputs != record.outputs:
            raise InputError(
                f"{where}: row {line['doc_id']} has other responses than on {before.where.rpartition(', ')[2]}\n"
                "does the file hold two runs? lm-eval appends to a file of the same name"
            )
    return list(found.values())


def _outputs(resps: Any, where: str) -> tuple[str, ...]:
    """The responses of one row: `resps` holds for each request a list of repeats."""
    if not isinstance(resps, list) or not resps or not all(isinstance(request, list) and request for request in resps):
        raise InputError(f"{where}: resps must be lists of responses, got {shown(resps)}\nis --format right?")
    if isinstance(resps[0][0], list):  # [[[log-likelihood, greedy]], ...]: one request for each option
        try:
            pairs = [(float(request[0][0]), str(request[0][1]) == "True") for request in resps]
        except (TypeError, ValueError, IndexError):
            raise InputError(f"{where}: resps holds no log-likelihoods: {shown(resps)}") from None
        values = {"loglikelihoods": [value for value, _ in pairs], "greedy": [greedy for _, greedy in pairs]}
        return (json.dumps(values),)
    return tuple(text_of(text, where, "a response") for request in resps for text in request)
