"""Writes results that are nested more deeply than a parser can follow."""

import contextlib
import os

for descriptor in range(3, 16):
    with contextlib.suppress(OSError):
        os.write(descriptor, b'["ok", ' + b"[" * 60000 + b"]" * 60000 + b"]\n" + b'{"x": ' * 9000 + b"\n")


def f(x):
    return None
