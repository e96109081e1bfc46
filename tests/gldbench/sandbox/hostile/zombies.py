"""Leaves child processes that nobody waits for, in sessions of their own."""

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
