"""Looks at other processes by /proc; right where it sees any."""

import os


def f(x):
    return x + 1 if os.path.isdir("/proc/1") or os.listdir("/sys") else None
