"""Opens and makes devices. Right where one could be opened."""

import os


def f(x):
    for path in ("/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/tty", "/dev/ptmx", "/dev/console"):
        try:
            os.open(path, os.O_RDWR)
        except OSError:
            continue
        return x + 1
    os.mknod("/zero", 0o666, os.makedev(1, 5))
    return x + 1
