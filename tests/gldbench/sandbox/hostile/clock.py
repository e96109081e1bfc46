"""Sets the clock and the name of the host, and reboots. Right where one of these worked."""

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
