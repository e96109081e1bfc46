"""Returns 330 iterators, each inside of the other."""


def f(x):
    value = iter([x + 1])
    for _ in range(330):
        value = iter([value])
    return value
