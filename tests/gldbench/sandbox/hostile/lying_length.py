"""Returns containers that lie about their length and their members."""


class Parts(dict):
    def items(self):
        return [([], 1)] * 10

    def __len__(self):
        return 1


class Members(set):
    def __iter__(self):
        while True:
            yield 1


def f(x):
    return Parts() if x % 2 else Members()
