"""Reads from descriptors that its parent left open. Right where it can read anything."""

import os


def f(x):
    for descriptor in range(1024):
        try:
            if os.read(descriptor, 1):
                return x + 1
        except OSError:
            continue
    return None
