"""Raises an exception whose name changes the colours of a terminal and clears it."""

Colour = type("\x1b[2J\x1b[31mRed\x07\r\n", (Exception,), {})


def f(x):
    raise Colour
