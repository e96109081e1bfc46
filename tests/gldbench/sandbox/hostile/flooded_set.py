"""Returns a set in which just less than half of the members have the same hash, so that it is slow to build."""


def f(x):
    same = [number * (2**61 - 1) for number in range(1, 60_000)]
    return [list(range(60_010)) + same, x]
