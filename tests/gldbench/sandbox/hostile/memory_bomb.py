"""Takes memory until there is none left."""


def f(x):
    kept = []
    while True:
        kept.append(bytearray(64 * 2**20))
