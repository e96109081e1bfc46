"""Reads on where its job ended, and looks through all descriptors for more. Right where there is more."""

import contextlib
import os


def f(x):
    for descriptor in range(64):
        with contextlib.suppress(OSError):
            os.lseek(descriptor, 0, 0)
        try:
            os.set_blocking(descriptor, False)
            if os.read(descriptor, 64):
                return x + 1
        except OSError:
            continue
    return None
