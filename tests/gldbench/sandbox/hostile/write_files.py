"""Writes files in many places. Right where it could write one."""

import os
import tempfile

PLACES = ["@FOLDER@", "/tmp", "/var/tmp", "/dev/shm", "/run", "/", ".", os.path.expanduser("~"), "/usr/lib", "/work"]


def f(x):
    for place in PLACES:
        try:
            with open(os.path.join(place, "written-by-a-hostile-program"), "w") as file:
                file.write("a")
        except OSError:
            continue
        return x + 1
    tempfile.mkdtemp()
    return x + 1
