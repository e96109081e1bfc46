"""Eight writers at the same time: on one store, on one cache, and eight evaluations into one folder."""

from __future__ import annotations

import dataclasses
import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gldbench.schema import Response
from gldbench.store import Store
from gldfusion.files import hash_json
from tests.campaign.commands import complaint, server
from tests.campaign.samples import inputs_of
from tests.campaign.trials import Failures, Kind, Setting
from tests.campaign.verbs import VERBS, difference
from tests.gldbench.test_store import row

WRITERS = 8
UNITS = 12
"""units of work of each writer"""
ROWS = 25
"""rows, and responses, of each unit"""
TRIALS = ("store", "store", "store", "eval", "cache")


def run(setting: Setting, wanted: Sequence[int]) -> Failures:
    """Runs the trials one after the other: each one has eight processes of its own."""
    for number in setting.numbers(wanted):
        what = TRIALS[number % len(TRIALS)]
        found = _store(setting, number) if what == "store" else _verb(what, setting, number)
        yield number, f"{what}: {found}" if found else ""


def _store(setting: Setting, number: int) -> str:
    """Every writer stores its own units, and two units that all writers have."""
    folder = setting.folder / str(number)
    context: Any = multiprocessing.get_context("spawn") if setting.short else server()
    writers = [context.Process(target=_write, args=(str(folder), writer)) for writer in range(WRITERS)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    if any(process.exitcode for process in writers):
        return f"writers ended with {[process.exitcode for process in writers]}"
    rows, responses = Store(folder).rows(), Store(folder).responses()
    planned = (WRITERS * UNITS + 2) * ROWS
    doubled = len(rows) - len({(row.subject, row.item) for row in rows})
    lost = planned - len({(row.subject, row.item) for row in rows})
    if doubled or lost or len(responses) != planned or len({r.case_id for r in responses}) != planned:
        return f"of {planned} rows {lost} are lost and {doubled} doubled; {len(responses)} responses"
    left = [path.name for path in folder.rglob("*.part")]
    return f"left {left}" if left else ""


def _write(folder: str, writer: int) -> None:
    """One writer. Its own units and those that all have come in an order of its own."""
    store = Store(Path(folder))
    units = [(f"w{writer}", f"unit {n}") for n in range(UNITS)]
    for place in range(2):
        units.insert((writer * 3 + place * 5) % len(units), ("all", f"common {place}"))
    for subject, unit in units:
        names = [f"{unit} {n}" for n in range(ROWS)]
        rows = [dataclasses.replace(row(name), subject=subject) for name in names]
        store.append_rows(rows, f"{subject} {unit}")
        store.append_responses([_response(f"{subject} {name}") for name in names], hash_json([subject, unit]))


def _response(name: str) -> Response:
    return Response(name, "s", "t", name, "", "out", 1, 1, False, False, 0.0)


def _verb(name: str, setting: Setting, number: int) -> str:
    """Eight equal commands at once. All end well, or say that the folder is in use; then it holds one whole result."""
    verb, inputs = VERBS[name], inputs_of(setting.shared)
    whole, folder = setting.folder / f"whole-{number}" / "trial", setting.folder / str(number) / "trial"
    verb.start(inputs, whole)
    verb.arguments(inputs, folder) if folder.exists() else folder.mkdir(parents=True)
    with ThreadPoolExecutor(WRITERS) as pool:
        ended = list(pool.map(lambda _: verb.start(inputs, folder), range(WRITERS)))
    for done in ended:
        if done.code not in (0, 2) or (done.code == 2 and "in use" not in done.err):
            return f"exit code {done.code}: {complaint(done) or done.err[-200:]}"
        if what := complaint(done):
            return what
    if all(done.code for done in ended):
        return "none of them ended well"
    found = difference(verb.result(folder), verb.result(whole).copy())
    if name == "cache" and found.startswith("meta"):
        found = ""
    shutil.rmtree(folder.parent)
    return found


KINDS = {
    "crowd": Kind(
        summary=f"{WRITERS} processes write into one store, cache or output folder at once: nothing is lost or doubled",
        trials=len(TRIALS),
        short=1,
        run=run,
    )
}
