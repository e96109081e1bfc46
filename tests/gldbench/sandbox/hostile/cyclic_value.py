"""Returns a list that holds itself."""


def f(x):
    value = []
    value.append(value)
    return value
