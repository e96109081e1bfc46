"""Asks numpy for more memory than it may have. Right where it got it."""

import numpy as np


def f(x):
    blocks = [np.ones(2**24) for _ in range(64)]
    return x + 1 if blocks else None
