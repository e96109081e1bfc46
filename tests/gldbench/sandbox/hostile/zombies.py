"""Leaves children that nobody waits for, and one that leaves its parent's session."""

import os


def f(x):
    for _ in range(10):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    pass
            os._exit(0)
    return x + 1
