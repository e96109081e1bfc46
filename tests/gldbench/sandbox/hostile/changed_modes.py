"""Changes and links the files that it can see. Right where one attempt worked."""

import os

DEEDS = [
    lambda: os.chmod("/usr/lib", 0o777),
    lambda: os.utime("/usr/lib"),
    lambda: os.link("/usr/lib/os-release", "/tmp/link"),
    lambda: os.symlink("/etc", "/link"),
    lambda: os.mkdir("/folder"),
    lambda: os.rename("/usr", "/user"),
    lambda: os.mknod("/device"),
]


def f(x):
    for deed in DEEDS:
        try:
            deed()
        except OSError:
            continue
        return x + 1
    return None
