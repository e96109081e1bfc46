"""Returns decimal numbers with huge exponents, and one that must not be compared."""

from decimal import Decimal


def f(x):
    return Decimal("sNaN") if x % 2 else Decimal("1e999999999999999999")
