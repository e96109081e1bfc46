"""Replaces itself by another program, which would leave a marker. Never right."""

import contextlib
import os


def f(x):
    for program in ("/bin/sh", "/usr/bin/sh", "/usr/bin/touch", "/bin/busybox"):
        with contextlib.suppress(OSError):
            os.execv(program, [program, "-c", "touch @FOLDER@/replaced"])
