"""Changes the packages that it is offered. Right where one of them could be changed, linked, moved or made writable."""

import os

import numpy


def f(x):
    folder = os.path.dirname(numpy.__file__)
    for attempt in (
        lambda: open(numpy.__file__, "a").close(),
        lambda: open(os.path.join(folder, "written-by-a-hostile-program"), "w").close(),
        lambda: os.mkdir("/packages/written-by-a-hostile-program"),
        lambda: os.chmod(numpy.__file__, 0o777),
        lambda: os.utime(numpy.__file__),
        lambda: os.remove(numpy.__file__),
        lambda: os.rename(folder, "/packages/other"),
        lambda: os.link(numpy.__file__, "/packages/other"),
        lambda: os.symlink("/etc", "/packages/etc"),
        lambda: os.truncate(numpy.__file__, 0),
    ):
        try:
            attempt()
        except OSError:
            continue
        return x + 1
    return None
