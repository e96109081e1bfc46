"""Signals the host's process, its own parent and everything; right where the host's process could be reached."""

import contextlib
import os
import signal


def f(x):
    for target in (-1, os.getppid(), 1):
        with contextlib.suppress(OSError):
            os.kill(target, signal.SIGKILL)
    os.kill(int("@PID@"), signal.SIGKILL)
    return x + 1
