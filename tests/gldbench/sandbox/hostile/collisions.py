"""Returns a set whose members all have the same hash, so that building it again is slow."""


def f(x):
    return {number * (2**61 - 1) for number in range(1, 20000)}
