"""Writes unknown tags, invalid numbers, and text that is not UTF-8."""

import contextlib
import os

LINES = [
    b'["ok", {"tuple": 3}]',
    b'["ok", {"set": [[]]}]',
    b'["ok", {"int": "0x"}]',
    b'["ok", {"evil": []}]',
    b'["ok", NaN]',
    b'["ok", 1e999]',
    b'["ok", {"bytes": "zz"}]',
    b"\xff\xfe",
    b'["ok"]',
    b"[]",
    b"null",
    b'["ok", {"int": 5}]',
    b'["ok", {"complex": []}]',
    b'["ok", {"dict": [[1]]}]',
    b'["error", {}]',
]

for descriptor in range(3, 16):
    with contextlib.suppress(OSError):
        os.write(descriptor, b"\n".join(LINES) + b"\n")


def f(x):
    return None
