"""Never returns, and ignores signals and exceptions."""

import contextlib
import signal

for number in range(1, 65):
    with contextlib.suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_IGN)


def f(x):
    while True:
        with contextlib.suppress(BaseException):
            while True:
                pass
