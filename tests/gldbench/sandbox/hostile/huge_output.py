"""Returns a huge text."""


def f(x):
    return "a" * (4 * 10**7)
