"""Sends signals to the host's process, to its own parent and to all processes. Right where it reached the host's."""

import contextlib
import os
import signal


def f(x):
    for target in (-1, os.getppid(), 1):
        with contextlib.suppress(OSError):
            os.kill(target, signal.SIGKILL)
    os.kill(int("@PID@"), signal.SIGKILL)
    return x + 1
