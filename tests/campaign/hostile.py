"""Grades hostile outputs beside twenty right ones: no output aborts the grading, and the right ones are scored.

All outputs of a kind are graded by one call, as in an evaluation. Each hostile output is one trial.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.campaign.commands import require_loaded, server
from tests.campaign.hostile_outputs import FENCE, GOOD, PROGRAMS, TEXTS
from tests.campaign.trials import Failures, Kind, Setting
from tests.gldbench.sandbox import hostile_programs as suite

LIMIT_SECONDS = 1500.0
Grading = Callable[[Sequence[tuple[str, str]]], list[Any]]
"""[(name, output)] -> rows"""


def _names() -> list[str]:
    """All hostile outputs: the programs of the test suite, ours, and texts."""
    return [*(f"suite/{program.name}" for program in suite.PROGRAMS), *PROGRAMS, *TEXTS]


def _output(name: str, host: suite.Host, one_line: bool) -> str:
    """The hostile output with this name. `one_line`: the task asks for one line after a #."""
    if name in TEXTS:
        return TEXTS[name] if not one_line else f"# {TEXTS[name].replace('#', '')}"
    shared = {f"suite/{program.name}": program.source for program in suite.PROGRAMS}
    source = PROGRAMS[name] if name in PROGRAMS else suite.fill(shared[name], host)
    return _one_line(source) if one_line else FENCE.format(source)


def _one_line(source: str) -> str:
    """One expression that runs the program and is its function f."""
    text = source.encode("utf-8", "surrogatepass").hex()
    return f"# (lambda names: exec(bytes.fromhex('{text}').decode(), names) or names['f'])({{}})"


def _graded(task: Any, items: Sequence[Any], outputs: Sequence[str], grader: str) -> list[Any]:
    from gldbench.grade.rows import RowLabels, bare_response, grade

    labels = RowLabels(run_id="r", env_id="e", suite="s", subject="s", method="m")
    responses = [bare_response(item, output) for item, output in zip(items, outputs, strict=True)]
    return grade(task, items, responses, labels, (grader,))


def _benchmark(grader: str) -> Grading:
    """Answers to a problem of HumanEval+. EvalPlus's limit of 62 s is 5 s here: many of the programs never end."""

    def graded(outputs: Sequence[tuple[str, str]]) -> list[Any]:
        from gldbench.grade import evalplus
        from gldbench.schema import Item
        from gldbench.tasks import load_task

        evalplus._PROGRAM = replace(evalplus._PROGRAM, cpu_seconds=5, wall_seconds=20)
        record = suite.RECORD | {"contract": "", "test": ""}
        items = [
            Item("humaneval_plus", "default", name, "", "", name, record={**record, "task_id": f"HumanEval/{number}"})
            for number, (name, _) in enumerate(outputs)
        ]
        return _graded(load_task("humaneval_plus"), items, [output for _, output in outputs], grader)

    return graded


def _functions(grader: str) -> Grading:
    """Answers to a problem of the embedded world: one line that defines f."""

    def graded(outputs: Sequence[tuple[str, str]]) -> list[Any]:
        from gldbench.schema import Item
        from gldbench.tasks import load_task

        blank = Item("world_list_functions", "test", "", "", "", "x", tests=((1, 2), (2, 3), (41, 42)), entry="f")
        items = [replace(blank, item_id=name) for name, _ in outputs]
        return _graded(load_task("world_list_functions"), items, [output for _, output in outputs], grader)

    return graded


def _runner(grading: Grading, one_line: bool, trusts: bool) -> Callable[[Setting, Sequence[int]], Failures]:
    def run(setting: Setting, wanted: Sequence[int]) -> Failures:
        if time.monotonic() >= setting.deadline:
            return
        context = server()
        receiver, sender = context.Pipe(duplex=False)
        names = [_names()[number] for number in wanted]
        process = context.Process(target=_work, args=(setting.name, str(setting.folder), names, one_line, sender))
        process.start()
        sender.close()
        limit = max(0.0, min(LIMIT_SECONDS, setting.deadline - time.monotonic()))
        found: dict[str, str] | str = f"the grading took more than {limit:.0f} s"
        with contextlib.suppress(EOFError):
            found = receiver.recv() if receiver.poll(limit) else found
        process.kill()
        process.join()
        if isinstance(found, str):
            found = {"": f"all items are lost: {found}"}
        if what := found.pop("", ""):
            yield -1, what
        if trusts:
            believed = [name for name in names if found.get(name) == SCORED]
            setting.facts.append(f"EvalPlus's own comparison believes {len(believed)} of {len(names)} hostile programs")
        for number, name in zip(wanted, names, strict=True):
            what = found.get(name, "not graded")
            yield number, f"{name}: {what}" if what and not (trusts and what == SCORED) else ""

    return run


SCORED = "it scores"


def _work(
    kind: str, folder: str, names: list[str], one_line: bool, sender: multiprocessing.connection.Connection
) -> None:
    """In a process: grades everything, and sends what is wrong for each name ("" for the whole)."""
    try:
        require_loaded()
        sender.send(_verdicts(GRADINGS[kind], Path(folder), names, one_line))
    except BaseException:  # whatever an output can do to the grading
        sender.send(" | ".join(traceback.format_exc().splitlines()[-3:])[:500])


def _verdicts(grading: Grading, folder: Path, names: list[str], one_line: bool) -> dict[str, str]:
    good = [_one_line(source) if one_line else FENCE.format(source) for source in GOOD.values()]
    with _watched(folder) as (host, changes):
        middle = len(good) // 2
        outputs = [(f"good {n}", text) for n, text in enumerate(good)]
        hostile = [(name, _output(name, host, one_line)) for name in names]
        rows = grading([*outputs[:middle], *hostile, *outputs[middle:]])
    found = {name: _of_rows([row for row in rows if row.item == name]) for name in names}
    lost = [name for name, _ in outputs if not all(row.value == 1 for row in rows if row.item == name)]
    whole = [f"{len(lost)} of {len(good)} right outputs are not scored: {', '.join(lost[:3])}"] if lost else []
    try:
        _stored(rows, folder)
    except Exception as error:
        whole.append(f"the rows cannot be stored: {type(error).__name__}: {str(error)[:100]}")
    return found | {"": "; ".join([*whole, *changes])}


def _of_rows(rows: Sequence[Any]) -> str:
    if not rows:
        return "it has no row"
    if any(not f"{row.reason}".replace("\n", "").isprintable() for row in rows):
        return (
            f"a reason that is not printable: {next(row.reason for row in rows if not row.reason.isprintable())!r:.100}"
        )
    return SCORED if any(row.value for row in rows) else ""


def _stored(rows: Sequence[Any], folder: Path) -> None:
    from gldbench.store import Store

    Store(folder / "rows").append_rows(rows, "all")
    if len(Store(folder / "rows").rows()) != len(rows):
        raise RuntimeError("rows are lost")


@contextlib.contextmanager
def _watched(folder: Path) -> Iterator[tuple[suite.Host, list[str]]]:
    """A host to attack. The list holds, after the block, what changed on it."""
    root, scratch, changes = folder / "host", folder / "scratch", []
    root.mkdir()
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    os.environ["GLDBENCH_SECRET"] = "secret"
    libc = ctypes.CDLL(None)
    with suite.host(root) as target:
        libc.prctl(suite.CHILD_SUBREAPER, 1, 0, 0, 0)
        before, born = suite.state(root, scratch), suite.children()
        yield target, changes
        deadline = time.monotonic() + 10
        while suite.children() - born and time.monotonic() < deadline:
            time.sleep(0.05)
        after = suite.state(root, scratch)
        changes += [f"the host changed: {name}" for name in before if before[name] != after[name]]
        if left := suite.children() - born:
            changes.append(f"{len(left)} processes survive")
        if target.process.poll() not in (None, 0):  # after ten minutes it ends by itself
            changes.append("a process of the host was killed")
    if target.connections:
        changes.append("a server of the host was reached")


GRADINGS: dict[str, Grading] = {
    "hostile-ours": _benchmark("ours"),
    "hostile-evalplus": _benchmark("evalplus"),
    "hostile-functions": _functions("ours"),
    "hostile-lm_eval": _functions("lm_eval"),
}


def _kind(name: str, task: str, one_line: bool = False, trusts: bool = False) -> Kind:
    end = "; where EvalPlus itself believes a cheat, its verdict stands" if trusts else ""
    return Kind(
        summary=f"a hostile output to {task} is graded beside {len(GOOD)} right ones: it scores 0, they score 1, and "
        f"the host stays as it was{end}",
        trials=len(_names()),
        short=0,
        run=_runner(GRADINGS[name], one_line, trusts),
    )


KINDS = {
    "hostile-ours": _kind("hostile-ours", "HumanEval+ (grader ours)"),
    "hostile-evalplus": _kind("hostile-evalplus", "HumanEval+ (grader evalplus)", trusts=True),
    "hostile-functions": _kind("hostile-functions", "list_functions (grader ours)", one_line=True),
    "hostile-lm_eval": _kind("hostile-lm_eval", "list_functions (grader lm_eval)", one_line=True),
}
