"""Ends the process, with success, in the call."""

import os


def f(x):
    os._exit(0)
