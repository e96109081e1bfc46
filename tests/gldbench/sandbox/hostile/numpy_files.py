"""Writes files through numpy. Right where one could be written."""

import numpy as np

PLACES = ["@FOLDER@", "/tmp", "/dev/shm", "/packages", "/packages/numpy", "/", "."]


def f(x):
    def attempts(place):
        path = place + "/written-by-a-hostile-program"
        yield lambda: np.save(path, np.ones(4))
        yield lambda: np.ones(4).tofile(path)
        yield lambda: np.memmap(path, dtype=np.uint8, mode="w+", shape=(16,)).flush()
        yield lambda: np.savez(path, a=np.ones(4))
        yield lambda: np.memmap("@FOLDER@/precious", dtype=np.uint8, mode="r+", shape=(4,)).fill(0)

    for place in PLACES:
        for attempt in attempts(place):
            try:
                attempt()
            except OSError:
                continue
            return x + 1
    return None
