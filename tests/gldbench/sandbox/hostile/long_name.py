"""Raises an exception and returns an object whose names have a million characters."""

Long = type("A" * 10**6, (Exception,), {})


def f(x):
    if x % 2:
        raise Long
    return Long()
