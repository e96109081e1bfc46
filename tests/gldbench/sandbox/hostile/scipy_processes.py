"""Starts processes through scipy and numpy. Right where one ran."""

import numpy as np
import scipy.integrate
import scipy.optimize


def square(point):
    return float(np.sum(np.square(point)))


def f(x):
    try:
        scipy.optimize.differential_evolution(square, [(-1, 1)], workers=2, maxiter=1)
        return x + 1
    except Exception:
        pass
    try:
        scipy.integrate.quad_vec(square, 0, 1, workers=2)
        return x + 1
    except Exception:
        return None
