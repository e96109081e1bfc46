"""Reads the host's files. Right where it could read one."""

import os


def f(x):
    for path in ("@FOLDER@/precious", "/etc/passwd", "/etc/hostname", "/root/.bashrc", "/home", "@REPOSITORY@"):
        try:
            os.listdir(path) if os.path.isdir(path) else os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        return x + 1
    return None
