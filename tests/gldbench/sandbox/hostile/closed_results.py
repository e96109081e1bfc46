"""Closes every descriptor, so that it seems to have ended, and goes on."""

import os
import time


def f(x):
    os.closerange(0, 256)
    while True:
        time.sleep(1000)
