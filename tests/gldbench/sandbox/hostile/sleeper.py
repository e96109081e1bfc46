"""Uses no processor time and never returns."""

import time


def f(x):
    while True:
        time.sleep(1000)
