"""Looks for other processes in /proc. Right where it sees any."""

import os


def f(x):
    return x + 1 if os.path.isdir("/proc/1") or os.listdir("/sys") else None
