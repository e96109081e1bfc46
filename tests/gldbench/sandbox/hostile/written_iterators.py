"""Writes a line about nested iterators itself, so that its own process does not notice the depth."""

import contextlib
import os

LINE = b'["ok", ' + b'{"iterator": [' * 330 + b"1" + b"]}" * 330 + b"]\n"

for descriptor in range(3, 16):
    with contextlib.suppress(OSError):
        os.write(descriptor, LINE * 4)


def f(x):
    return None
