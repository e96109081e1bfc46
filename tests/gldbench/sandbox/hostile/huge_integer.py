"""Returns an integer of millions of digits."""


def f(x):
    return 1 << (8 * 10**6)
