"""Runs other programs. Right where one ran."""

import os
import subprocess


def f(x):
    if os.system("touch @FOLDER@/shell") == 0:
        return x + 1
    subprocess.run(["/bin/sh", "-c", "touch @FOLDER@/shell"], check=True)
    return x + 1
