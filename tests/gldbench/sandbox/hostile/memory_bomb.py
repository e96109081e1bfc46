"""Takes all the memory there is."""


def f(x):
    kept = []
    while True:
        kept.append(bytearray(64 * 2**20))
