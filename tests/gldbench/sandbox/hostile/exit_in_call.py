"""Ends the process successfully inside the call."""

import os


def f(x):
    os._exit(0)
