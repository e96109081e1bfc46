"""A value that compares to nothing."""


def f(x):
    return float("nan")
