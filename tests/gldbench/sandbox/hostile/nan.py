"""Returns a value that does not equal itself."""


def f(x):
    return float("nan")
