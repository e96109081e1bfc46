"""Returns a tuple that is nested 450 levels deep."""


def f(x):
    value = ()
    for _ in range(450):
        value = (value,)
    return value
