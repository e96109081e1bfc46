"""Takes memory as a file without a name. Right where it could write to one."""

import os


def f(x):
    os.write(os.memfd_create("a"), b"a" * 4096)
    return x + 1
