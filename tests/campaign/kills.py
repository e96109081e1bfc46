"""Kills each verb that writes at random moments; the same command must then end with the undisturbed result."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Sequence
from functools import partial

from tests.campaign.commands import Done, Kill, complaint, fresh
from tests.campaign.samples import inputs_of
from tests.campaign.trials import Failures, Kind, Setting
from tests.campaign.verbs import VERBS, difference, files, leftovers

ATTEMPTS = 5
"""a command that ended before the signal came is killed earlier, this often"""
BUSY = 4.0
"""by how much a start may take longer than the one that was measured"""
LEAST = 0.3
"""seconds before which a new process has done nothing at all"""
TERMINATED = 128 + signal.SIGTERM


def killer(name: str) -> Callable[[Setting, Sequence[int]], Failures]:
    """The function that runs the trials of one verb."""

    def run(setting: Setting, wanted: Sequence[int]) -> Failures:
        verb, inputs = VERBS[name], inputs_of(setting.shared, models=not setting.short)
        whole = setting.folder / "undisturbed" / "trial"
        start = partial(verb.start, inputs, new_process=setting.short)
        start(setting.folder / "warm" / "trial")  # the first one starts the server
        done = start(whole)
        # A new process cannot catch SIGTERM before it has imported the command line. In the short form, which runs
        # beside other tests, nobody knows how long that takes; tests/gldfusion/test_terminated.py waits for it.
        new_process = verb.own_workers or setting.short
        deaf = BUSY * fresh(["--version"], setting.folder).seconds if new_process else 0.0
        deaf = float("inf") if setting.short else deaf
        if done.code:
            raise RuntimeError(f"the undisturbed command failed: {done.err[-300:]}")
        expected, names = verb.result(whole), files(whole)

        def trial(number: int) -> str:
            random = setting.random(number)
            number_of_signal = signal.SIGTERM if number % 3 == 2 else signal.SIGKILL
            moment = max(LEAST if new_process else 0.0, random.uniform(0.03, 1.0) * done.seconds)
            for attempt in range(ATTEMPTS):
                folder = setting.folder / f"{number}-{attempt}" / "trial"
                killed = start(folder, Kill(moment * 0.7**attempt, number_of_signal))
                if killed.killed:
                    break
            else:
                return f"the command ended before the signal, {ATTEMPTS} times"
            what = _of_killed(killed, number_of_signal, deaf) or _of_resumed(start(folder))
            what = what or difference(verb.result(folder), expected)
            left = leftovers(folder, names)
            if what or left:
                return f"{signal.Signals(number_of_signal).name} after {killed.seconds:.2f} s: {what or f'left {left}'}"
            shutil.rmtree(folder.parent)
            return ""

        yield from setting.each(trial, wanted)
        setting.facts.append(f"the undisturbed command takes {done.seconds:.1f} s, without the imports of torch")

    return run


def _of_killed(killed: Done, sent: int, deaf: float) -> str:
    if killed.survivors:
        return f"{killed.survivors} workers outlived the command"
    if sent == signal.SIGKILL:
        return ""
    if killed.seconds < deaf and killed.code == -signal.SIGTERM:
        return ""
    if killed.code not in (0, TERMINATED):  # 0: it was about to end
        return f"SIGTERM ended it with {killed.code}, not with {TERMINATED}"
    if killed.code and "run the same command again" not in killed.err:
        return f"after SIGTERM it does not say how to go on: {killed.err[-200:]!r}"
    if "Traceback" in killed.err:
        return "traceback: " + " | ".join(killed.err.splitlines()[-6:])[:600]
    return ""


def _of_resumed(resumed: Done) -> str:
    if resumed.code == 2 and "will not overwrite" in resumed.err:
        return ""  # a fusion was killed after it had written its checkpoint; the comparison decides
    if resumed.code:
        return f"the same command then ended with {resumed.code}: {complaint(resumed) or resumed.err[-300:]}"
    return complaint(resumed)


KINDS = {
    f"kill-{name}": Kind(
        summary=f"`gldbench {' '.join(word)}` is killed; the same command ends with the undisturbed result",
        trials=trials,
        short=short,
        run=killer(name),
    )
    for name, word, trials, short in (
        ("eval", ["eval"], 24, 0),
        ("score", ["score"], 24, 3),
        ("run", ["run"], 20, 0),
        ("fuse", ["fuse"], 24, 0),
        ("cache", ["cache"], 22, 0),
        ("gw", ["gw", "bench"], 22, 0),
    )
}
