"""Overflows the stack of the interpreter."""

import sys

sys.setrecursionlimit(10**9)


class Deep:
    def __getattr__(self, name):
        return getattr(self, name + "a")


def f(x):
    return repr(Deep().a) + str(f(x))
