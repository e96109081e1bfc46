"""Takes shared anonymous memory. Right where it got 8 GiB."""

import mmap


def f(x):
    kept = []
    for _ in range(128):
        area = mmap.mmap(-1, 64 * 2**20)
        for place in range(0, len(area), 4096):
            area[place] = 1
        kept.append(area)
    return x + 1
