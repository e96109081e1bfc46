"""Returns two million empty lists."""


def f(x):
    return [[] for _ in range(2_000_000)]
