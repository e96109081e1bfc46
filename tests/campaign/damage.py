"""Damages or deletes one file of a finished folder, or of a training state, and runs the command that reads it.

The damage must be named (exit code 2), be mended with the result of before, or have no influence on the result.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.campaign.commands import Done, Kill, complaint, forked, fresh
from tests.campaign.inputs import cache_recipe
from tests.campaign.mutate import DAMAGES
from tests.campaign.samples import inputs_of, samples_of
from tests.campaign.trials import Failures, Kind, Setting
from tests.campaign.verbs import VERBS, checkpoint_result, difference


@dataclass(frozen=True)
class Case:
    """Files that are damaged, and the command that reads them."""

    sample: str
    """name of the sample that is copied"""
    files: str
    """pattern of the files, below the copy"""
    command: Callable[[Path, Path], Done]
    """(inputs, copy) -> what the command did"""
    result: Callable[[Path], Any]
    """copy -> the result that must be the same as without the damage"""
    spare: tuple[str, ...] = ()
    """ends of names that are notes for people; nothing reads them"""


def _again(name: str) -> Callable[[Path, Path], Done]:
    """Runs the command that made the sample once more."""
    return lambda inputs, folder: VERBS[name].start(inputs, folder)


def _reads(*arguments: str) -> Callable[[Path, Path], Done]:
    """Runs a command that needs no torch; {inputs} and {here} stand for the two folders."""

    def command(inputs: Path, folder: Path) -> Done:
        return fresh([a.replace("{inputs}", str(inputs)).replace("{here}", str(folder)) for a in arguments], folder)

    return command


def _printed(name: str) -> Callable[[Path], Any]:
    """What the command wrote into a file, or nothing."""
    return lambda folder: (folder / name).read_bytes() if (folder / name).exists() else None


def _with_cache(*arguments: str) -> Callable[[Path, Path], Done]:
    """Runs a command on here.yaml, a recipe that names the cache of the copy."""

    def command(inputs: Path, folder: Path) -> Done:
        (folder / "here.yaml").write_text(cache_recipe(inputs, folder / "cache", "texts.jsonl"))
        return forked(arguments, folder)

    return command


def _eval_of(inputs: Path, folder: Path) -> Done:
    """Evaluates the checkpoint of the copy."""
    return forked(
        [
            "eval", str(folder / "out"), "--tasks", "toy", "--tasks-dir", str(inputs / "tasks"), "--limit", "4",
            "--data", str(inputs / "data"), "--output", str(folder / "asked"),
        ],
        folder,
    )  # fmt: skip


def _answers(folder: Path) -> Any:
    """The responses without names, which hold the hash of the checkpoint, and times."""
    from gldbench.store import Store

    return sorted((response.item_id, response.output) for response in Store(folder / "asked").responses())


RUN, EVAL, REPORT = VERBS["run"].result, VERBS["eval"].result, _reads("report", "{here}/out")
CASES: dict[str, Case] = {
    "a run goes on": Case("run", "out/[!r]*/**/*", _again("run"), RUN),
    "rows of a run": Case("run", "out/r*s*/*", _again("run"), RUN),
    "the world of a run": Case("run", "worlds/**/*", _again("run"), RUN),
    "files of a run": Case("run", "out/*.*", _again("run"), RUN),
    "report": Case("run", "out/r[!e]*/*", REPORT, _printed("out/report/report.md")),
    "report, responses": Case("run", "out/responses/*", REPORT, _printed("out/report/items.html")),
    "report, spec": Case("run", "out/*.*", REPORT, _printed("out/report/report.md")),
    "an eval goes on": Case("eval", "out/**/*", _again("eval"), EVAL),
    "items": Case(
        "eval", "out/r*/*", _reads("items", "{here}/out", "--tasks-dir", "{inputs}/tasks", "--html", "items.html"),
        _printed("items.html"),
    ),
    "a gw bench goes on": Case("gw", "out/[!r]*", _again("gw"), VERBS["gw"].result),
    "rows of a gw bench": Case("gw", "out/rows/*", _again("gw"), VERBS["gw"].result),
    "cache, built again": Case(
        "cache", "cache/*", _with_cache("cache", "build", "here.yaml"), VERBS["cache"].result, spare=(".claims",)
    ),
    "cache, trained on": Case(
        "cache", "cache/*", _with_cache("fuse", "here.yaml", "--output", "fused"),
        lambda folder: checkpoint_result(folder / "fused"),
    ),
    "cache, verified": Case("cache", "cache/[!.]*", _reads("cache", "verify", "{here}/cache"), lambda folder: None),
    "a checkpoint, evaluated": Case("fuse", "out/*", _eval_of, _answers),
    "a training state": Case("state", ".out.state*/**/*", _again("fuse"), VERBS["fuse"].result),
}  # fmt: skip


def run(setting: Setting, wanted: Sequence[int]) -> Failures:
    """Runs the trials: the cases take turns."""
    samples, inputs = samples_of(setting.shared), inputs_of(setting.shared)
    names = list(CASES)
    used = {names[number % len(names)] for number in wanted}
    if any(CASES[name].sample == "state" for name in used):
        _make_state(inputs, setting.folder / "state")
    sources = {"state": setting.folder / "state"}
    expected: dict[str, Any] = {}
    for name in used:  # the undisturbed result: the same command on an undamaged copy
        case, copy = CASES[name], setting.folder / "undisturbed" / name.replace(" ", "-") / "trial"
        shutil.copytree(sources.get(case.sample, samples / case.sample), copy, symlinks=True)
        done = case.command(inputs, copy)
        if done.code:
            raise RuntimeError(f"{name}: the command fails without damage: {done.err[-300:]}")
        expected[name] = case.result(copy)

    def trial(number: int) -> str:
        name, random = names[number % len(names)], setting.random(number)
        case, copy = CASES[name], setting.folder / str(number) / "trial"
        shutil.copytree(sources.get(case.sample, samples / case.sample), copy, symlinks=True)
        what, path = _damage(copy, case, random)
        found = _verdict(name, case, case.command(inputs, copy), copy, expected[name])
        shutil.rmtree(copy.parent, ignore_errors=True)
        return f"{name}: {what} in {path.relative_to(copy)}: {found}" if found else ""

    yield from setting.each(trial, wanted)


def _make_state(inputs: Path, folder: Path) -> None:
    """A training that was killed after it had saved its state at least twice."""
    for share in (0.9, 0.8, 0.7, 0.6, 0.5, 0.95, 0.85):
        shutil.rmtree(folder, ignore_errors=True)
        whole = VERBS["fuse"].start(inputs, folder / "whole")
        VERBS["fuse"].start(inputs, folder, Kill(whole.seconds * share, signal.SIGKILL))
        shutil.rmtree(folder / "whole", ignore_errors=True)
        if not (folder / "out").exists() and len([*folder.glob(".out.state*/**/log.json")]) >= 1:
            return
    raise RuntimeError("no training could be killed after it had saved its state")


def _damage(copy: Path, case: Case, random: Random) -> tuple[str, Path]:
    """Damages one file, and says how."""
    ends = (*case.spare, ".lock", ".png", ".html", ".md")
    paths = [path for path in sorted(copy.glob(case.files)) if path.is_file() and not path.name.endswith(ends)]
    path = random.choice(paths)
    name = random.choice([*DAMAGES, "deletion"])
    if name == "deletion":
        path.unlink()
        return name, path
    content = path.read_bytes()
    changed = DAMAGES[name](content, random)
    times = path.stat()
    path.write_bytes(changed)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # a disk that forgets bits does not change times
    return name, path


def _verdict(name: str, case: Case, done: Done, copy: Path, expected: Any) -> str:
    if what := complaint(done):
        return what
    if done.code == 2:
        return ""
    if done.code == 1 and name == "cache, verified":
        return ""
    if done.code:
        return f"exit code {done.code}: {done.err[-200:]}"
    if name == "cache, verified":
        return "`cache verify` did not notice it"
    try:
        found = case.result(copy)
    except Exception as error:
        return f"accepted, and its result cannot be read: {type(error).__name__}: {str(error)[:150]}"
    different = difference(found, expected)
    return f"accepted with another result: {different}" if different else ""


KINDS = {
    "damage": Kind(
        summary="one file is damaged or deleted; the command names it, mends it, or gives the same result",
        trials=16 * 8,
        short=0,
        run=run,
    )
}
