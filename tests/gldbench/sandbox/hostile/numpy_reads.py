"""Reads the host's files through numpy, scipy and pandas. Right where one could be read."""

import numpy as np
import pandas as pd
import scipy.io


def f(x):
    for path in ("@FOLDER@/precious", "/etc/passwd", "/proc/self/maps", "@REPOSITORY@/pyproject.toml"):
        for read in (
            lambda p: np.fromfile(p, dtype=np.uint8),
            lambda p: np.memmap(p, dtype=np.uint8, mode="r"),
            lambda p: np.loadtxt(p, dtype=str),
            lambda p: pd.read_csv(p),
            lambda p: pd.read_csv("file://" + p),
            lambda p: scipy.io.mmread(p),
        ):
            try:
                read(path)
            except OSError:
                continue
            except Exception:
                pass
            return x + 1
    return None
