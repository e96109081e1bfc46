"""Starts ever more threads. Right where a thousand could be started."""

import threading
import time


def f(x):
    for _ in range(1000):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return x + 1
