"""A set whose members collide, so that whoever rebuilds it is slow."""


def f(x):
    return {number * (2**61 - 1) for number in range(1, 20000)}
