"""Gives distorted files, and names that are no such files, to the command line: it ends soon, with a known code."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.campaign import mutate
from tests.campaign.commands import Done, complaint, forked, fresh
from tests.campaign.samples import inputs_of, samples_of
from tests.campaign.trials import Failures, Kind, Setting

HANG_SECONDS = 5.0
"""of processor time: a command that takes longer hangs"""
IMPORT_SECONDS = 5.0
"""what a new process may take for its imports"""
Change = Callable[[bytes, Random], bytes]
ASKED = "--tasks-dir {tasks} --harness ours"
"""lm-eval's grader takes seconds to import"""
CHANGED = "score toy {files}/responses.jsonl --data {here} --allow-changed-data " + ASKED
FILES: dict[str, tuple[str, Change, str]] = {
    "responses": ("responses.jsonl", mutate.json_lines, "score toy {file} --data {data} " + ASKED),
    "data": ("toy.jsonl", mutate.json_lines, CHANGED),
    "packed data": ("toy.jsonl.gz", mutate.packed(mutate.json_lines), CHANGED),
    "cases": ("cases.jsonl", mutate.json_lines, "selftest cases {file} --data {data}"),
    "data of a new task": ("toy.jsonl", mutate.json_lines, "tasks new {file} --name made --into {here}/into"),
    "spec": ("small.yaml", mutate.yaml_document, "run {file} --output {here}/taken --workers 1"),
    "recipe": ("recipe.yaml", mutate.yaml_document, "fuse {file} --output {here}/taken/x"),
    "recipe of a cache": ("recipe.yaml", mutate.yaml_document, "cache {file}"),
    "bench": ("bench.yaml", mutate.yaml_document, "gw bench {file} --output {here}/taken"),
    "array": ("logits.npy", mutate.raw, "gw solve {file} {file} --logits --solvers flb"),
}
"""name -> (a file of the samples, how it is distorted, the command)"""
NAMES = ("nothing", "folder", "long", "null device", "other format", "locked", "loop", "text")
"""what is given instead of a file"""
PATHS = (
    "score toy {odd} --data {data} --tasks-dir {tasks}",
    "score toy {files}/responses.jsonl --data {odd} --tasks-dir {tasks}",
    "score toy {files}/responses.jsonl --data {data} --tasks-dir {odd}",
    "score toy {files}/responses.jsonl --data {data} --tasks-dir {tasks} --harness ours --items {odd}/x.jsonl",
    "eval {odd} --tasks toy --data {data} --tasks-dir {tasks} --output {here}/o",
    *("run {odd}", "run {odd}.yaml", "fuse {odd} --output {here}/o", "cache {odd}", "cache verify {odd}"),
    *(
        "cache stat {odd}",
        "report {odd}",
        "compare {odd} {odd}",
        "items {odd}",
        "gw solve {odd} {odd}",
        "gw bench {odd}",
    ),
    *("tasks new {odd}", "tasks show {odd}", "selftest cases {odd} --data {data}", "gw check --baseline {odd}"),
)


def run(setting: Setting, wanted: Sequence[int]) -> Failures:
    """Even numbers distort a file, odd ones name something that is no such file."""
    samples = samples_of(setting.shared, commands=False)
    inputs = inputs_of(setting.shared, models=not setting.short)

    def trial(number: int) -> str:
        random, here = setting.random(number), setting.folder / str(number)
        here.mkdir()
        places = {
            "files": str(samples / "files"),
            "data": str(inputs / "data"),
            "tasks": str(inputs / "tasks"),
            "here": str(here),
        }
        if number % 2:
            command = PATHS[number // 2 % len(PATHS)]
            what = NAMES[number // 2 // len(PATHS) % len(NAMES)]
            places["odd"] = str(_odd(what, here))
        else:
            what = list(FILES)[number // 2 % len(FILES)]
            name, change, command = FILES[what]
            places["file"] = str(here / name)
            (here / name).write_bytes(change((samples / "files" / name).read_bytes(), random))
            _beside(inputs, here)
        words = [word.format(**places) for word in command.split()]
        done = _run(words, here, setting.short)
        shutil.rmtree(here, ignore_errors=True)
        found = complaint(done)
        return f"{' '.join(words[:2])} ({what}): {found}" if found else ""

    yield from setting.each(trial, wanted)


def _beside(inputs: Path, here: Path) -> None:
    """What a distorted recipe, spec or bench refers to, and a file where the command would make a folder.

    A file that is distorted without harm would else start a training; the command fails at the occupied place instead.
    """
    (here / "models").symlink_to(inputs / "models")
    (here / "taken").write_text("a file")


def _odd(what: str, here: Path) -> Path:
    path = here / "odd"
    match what:
        case "folder":
            path.mkdir()
        case "long":
            return here / ("n" * 300)
        case "null device":
            return Path("/dev/null")
        case "other format":
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
        case "locked":
            path.write_text("x")
            path.chmod(0)
        case "loop":
            path.symlink_to(path)
        case "text":
            path.write_text("just a line of text\n")
    return path


def _run(words: Sequence[str], here: Path, short: bool) -> Done:
    """Commands that need no torch start a new process; the others are children of the server, which has imported it."""
    light = words[0] in ("score", "tasks", "report", "items")
    if light or short:
        return fresh(words, here, cpu=HANG_SECONDS + IMPORT_SECONDS)
    return forked(words, here, cpu=HANG_SECONDS)


KINDS = {
    "fuzz-cli": Kind(
        summary="the command line gets a distorted file, or a name that is no such file: it ends with a known exit "
        "code, without a traceback, and says what is wrong in at most three lines",
        trials=240,
        short=8,
        run=run,
    )
}
