"""Raises an exception whose name holds half of a surrogate pair, which no file can store."""

Half = type("Bad\ud800Name", (Exception,), {})


def f(x):
    raise Half
