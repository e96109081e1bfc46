"""Returns an object, and bytes, that write a file when somebody unpickles them."""

import os
import pickle

MARKER = "@FOLDER@/pickled"


class Bomb:
    def __reduce__(self):
        return os.system, ("touch " + MARKER,)


def f(x):
    return pickle.dumps(Bomb()) if x % 2 else Bomb()
