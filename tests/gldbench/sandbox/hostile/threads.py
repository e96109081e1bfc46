"""Starts threads. Right where one could be started."""

import threading


def f(x):
    threading.Thread(target=lambda: None).start()
    return x + 1
