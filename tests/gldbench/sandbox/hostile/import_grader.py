"""Imports the grader and other installed packages. Right where it could."""

import importlib
import sys

sys.path += ["@REPOSITORY@", "@PACKAGES@", "/usr/lib/python3/dist-packages"]


def f(x):
    for name in ("gldbench", "gldfusion", "torch", "evalplus", "lm_eval"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        return x + 1
    return None
