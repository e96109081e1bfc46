"""Kills its process group, its session and everything that it may send signals to."""

import contextlib
import os
import signal


def f(x):
    for target in (lambda: os.killpg(0, signal.SIGKILL), lambda: os.kill(-1, signal.SIGKILL)):
        with contextlib.suppress(OSError):
            target()
    os.kill(os.getpid(), signal.SIGKILL)
