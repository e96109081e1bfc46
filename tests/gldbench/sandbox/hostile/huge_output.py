"""Returns a huge text."""


def f(x):
    return "a" * 10**8
