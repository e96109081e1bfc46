"""Attaches to another process as a debugger. Right where it could."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)


def f(x):
    for target in (1, os.getppid(), int("@PID@")):
        if libc.ptrace(16, target, 0, 0) == 0:
            return x + 1
    return None
