"""Becomes another program; right in no case, but the marker would show it."""

import contextlib
import os


def f(x):
    for program in ("/bin/sh", "/usr/bin/sh", "/usr/bin/touch", "/bin/busybox"):
        with contextlib.suppress(OSError):
            os.execv(program, [program, "-c", "touch @FOLDER@/replaced"])
