"""Raises an exception that most handlers do not catch."""


def f(x):
    raise SystemExit(0)
