"""Sets the clock and the host's name, and reboots; right where one worked."""

import ctypes
import time

libc = ctypes.CDLL(None, use_errno=True)


def f(x):
    try:
        time.clock_settime(time.CLOCK_REALTIME, 0)
    except OSError:
        if libc.sethostname(b"a", 1) != 0 and libc.reboot(0x89ABCDEF) != 0:
            return None
    return x + 1
