"""Returns bytes and an object that write a file when they are unpickled."""

import os
import pickle

MARKER = "@FOLDER@/pickled"


class Bomb:
    def __reduce__(self):
        return os.system, ("touch " + MARKER,)


def f(x):
    return pickle.dumps(Bomb()) if x % 2 else Bomb()
