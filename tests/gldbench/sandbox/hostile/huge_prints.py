"""Prints endlessly."""

import sys


def f(x):
    while True:
        sys.stdout.write("a" * 65536)
        sys.stderr.write("b" * 65536)
