"""Returns a list of forty levels that holds itself twice at each level: a million million parts."""


def f(x):
    value = [x + 1]
    for _ in range(40):
        value = [value, value]
    return value
