"""Fills the disk under each verb that writes: it says so, leaves nothing half-written, and goes on once there is room.

As root the disk is a small tmpfs. Elsewhere no file can grow beyond a limit, which the system reports as another error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.campaign.commands import Done, complaint
from tests.campaign.samples import inputs_of
from tests.campaign.trials import Failures, Kind, Setting
from tests.campaign.verbs import TEMPORARY, VERBS, difference, files

PER_VERB = 4
KILOBYTE = 1024
PAGE = 4096
PLENTY = "512m"


def run(setting: Setting, wanted: Sequence[int]) -> Failures:
    """The verbs take turns. Each trial has a disk of another size, below what the verb needs."""
    inputs, names = inputs_of(setting.shared), list(VERBS)
    if not _can_mount(setting.folder / "probe"):
        raise RuntimeError("this user may not mount a tmpfs: run `make campaign` as root")
    needed: dict[str, tuple[int, object]] = {}
    for name in dict.fromkeys(names[number % len(names)] for number in wanted):
        whole = setting.folder / f"whole-{name}" / "trial"
        done = VERBS[name].start(inputs, whole)
        if done.code:
            raise RuntimeError(f"{name} fails on a disk with room: {done.err[-200:]}")
        needed[name] = _size(whole), VERBS[name].result(whole)

    def trial(number: int) -> str:
        name, random = names[number % len(names)], setting.random(number)
        size, expected = needed[name]
        disk = setting.folder / str(number)
        room = max(2 * PAGE, int(size * random.uniform(0.02, 0.9)))
        _mount(disk, str(room))
        try:
            found = _fill(name, inputs, disk / "trial", expected)
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
        return f"{name}, {room // KILOBYTE} KiB of {size // KILOBYTE}: {found}" if found else ""

    yield from setting.each(trial, wanted)


def _fill(name: str, inputs: Path, folder: Path, expected: object) -> str:
    verb = VERBS[name]
    try:
        folder.mkdir()
        done: Done = verb.start(inputs, folder)
    except OSError:  # the disk has no room for the recipe that the trial itself writes
        return ""
    if done.code == 0:
        return ""  # it needed less than the undisturbed one, whose temporary files counted
    if what := complaint(done):
        return what
    if done.code != 2 or "space" not in done.err:
        return f"exit code {done.code}, not a message about space: {done.err[-200:]}"
    left = [entry for entry in sorted(files(folder)) if TEMPORARY.search(entry)]
    if left:
        return f"left half-written: {left[:3]}"
    subprocess.run(["mount", "-o", f"remount,size={PLENTY}", str(folder.parent)], check=True)
    again = verb.start(inputs, folder)
    if again.code:
        return f"with room it ends with {again.code}: {again.err[-200:]}"
    return difference(verb.result(folder), expected)


def _size(folder: Path) -> int:
    """The bytes that a folder takes on a tmpfs: whole pages."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in folder.rglob("*") if path.is_file())


def _can_mount(folder: Path) -> bool:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    try:
        _mount(folder, "64k")
    except subprocess.CalledProcessError:
        return False
    subprocess.run(["umount", str(folder)], check=True)
    return True


def _mount(folder: Path, size: str) -> None:
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "gldbench-campaign", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


KINDS = {
    "full-disk": Kind(
        summary="the disk becomes full under a verb that writes: it says so in words, leaves nothing half-written, and "
        "the same command ends with the undisturbed result once there is room",
        trials=PER_VERB * len(VERBS),
        short=0,
        run=run,
    )
}
