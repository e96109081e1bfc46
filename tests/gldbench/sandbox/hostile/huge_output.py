"""Returns more than anybody wants to read."""


def f(x):
    return "a" * 10**8
