"""Writes a line about a dictionary whose keys are tuples that all have the same hash."""

import contextlib
import json
import os

KEYS = [[{"tuple": [{"int": hex(number * (2**61 - 1))}]}, 0] for number in range(1, 30_000)]
KEYS += [[number, 0] for number in range(1, 30_010)]
LINE = json.dumps(["ok", {"dict": KEYS}]).encode() + b"\n"

for descriptor in range(3, 16):
    with contextlib.suppress(OSError):
        rest = LINE
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def f(x):
    return None
