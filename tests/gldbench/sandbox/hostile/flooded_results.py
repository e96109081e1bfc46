"""Writes endlessly to the descriptor of the results."""

import contextlib
import os


def f(x):
    while True:
        for descriptor in range(3, 16):
            with contextlib.suppress(OSError):
                os.write(descriptor, b"x" * 65536)
