"""A packed data file of 3 MB that unpacks to 3 GB: the command refuses it, and takes no more memory than without it."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.campaign.commands import Done, complaint, environment
from tests.campaign.inputs import write_task
from tests.campaign.samples import inputs_of
from tests.campaign.trials import Failures, Kind, Setting

MEMBER = 100 * 2**20
"""bytes of one part of the bomb; gzip files may be joined"""
PARTS = 30
MORE = 400 * 2**20
"""bytes that the command may take beyond what it takes for a small file"""
SECONDS = 120.0
"""after which the command is killed"""
VERBS = ("score", "eval", "tasks")


def run(setting: Setting, wanted: Sequence[int]) -> Failures:
    """One trial for each verb that reads data files."""
    inputs, bomb = inputs_of(setting.shared, models=not setting.short), setting.folder / "bomb"
    (bomb / "data").mkdir(parents=True)
    line = b'{"q": "' + b"0" * (MEMBER - 20) + b'", "gold": "1"}\n'
    (bomb / "data" / "toy.jsonl.gz").write_bytes(gzip.compress(line, 9) * PARTS)
    write_task(bomb / "tasks", line)
    for number in setting.numbers(wanted):
        verb = VERBS[number % len(VERBS)]
        _, usual = _measured(_command(verb, inputs, inputs / "data", inputs / "tasks", setting.folder / f"{number}-a"))
        done, taken = _measured(_command(verb, inputs, bomb / "data", bomb / "tasks", setting.folder / f"{number}-b"))
        setting.facts.append(f"`{verb}` took {taken / 2**20:.0f} MiB, and {usual / 2**20:.0f} MiB with a small file")
        yield number, _complaint(verb, done, usual, taken)


def _command(verb: str, inputs: Path, data: Path, tasks: Path, out: Path) -> list[str]:
    common = ["--data", str(data), "--tasks-dir", str(tasks), "--allow-changed-data"]
    if verb == "score":
        return ["score", "toy", str(inputs / "responses.jsonl"), "--harness", "ours", *common]
    if verb == "tasks":
        packed = data / "toy.jsonl.gz"
        return [
            "tasks",
            "new",
            str(packed if packed.exists() else data / "toy.jsonl"),
            "--name",
            "made",
            "--into",
            str(out),
        ]
    return ["eval", str(inputs / "models/chain"), "--tasks", "toy", "--limit", "2", "--output", str(out), *common]


def _measured(words: Sequence[str]) -> tuple[Done, int]:
    """Runs a command, and watches the largest memory of its process, in bytes."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "gldbench.cli", *words],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    most = [0]

    def watch() -> None:
        while process.poll() is None:
            try:
                most[0] = max(most[0], psutil.Process(process.pid).memory_info().rss)
            except psutil.NoSuchProcess:
                return
            if time.monotonic() - started > SECONDS:
                process.kill()
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, err = process.communicate()
    watcher.join()
    return Done(process.returncode, out, err, time.monotonic() - started), most[0]


def _complaint(verb: str, done: Done, usual: int, taken: int) -> str:
    what = complaint(done)
    if not what and done.code != 2:
        what = f"exit code {done.code}, not 2"
    if not what and taken > usual + MORE:
        what = f"it took {taken / 2**20:.0f} MiB, {usual / 2**20:.0f} MiB without the bomb"
    return f"{verb}: {what}" if what else ""


KINDS = {
    "memory": Kind(
        summary=f"a data file of 3 MB unpacks to 3 GB: it is refused, and takes at most {MORE // 2**20} MiB "
        "more than a small one",
        trials=len(VERBS),
        short=1,
        run=run,
    )
}
