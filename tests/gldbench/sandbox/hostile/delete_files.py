"""Deletes the host's files. Right where one is gone."""

import os
import shutil


def f(x):
    before = os.path.exists("@FOLDER@/precious")
    shutil.rmtree("@FOLDER@", ignore_errors=True)
    return x + 1 if before and not os.path.exists("@FOLDER@/precious") else None
