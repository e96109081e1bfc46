"""Lets sympy evaluate text that reads and writes. Right where the text could do more than the program itself."""

import sympy
from sympy.utilities.autowrap import autowrap


def f(x):
    for attempt in (
        lambda: sympy.sympify("__import__('os').listdir('@FOLDER@')"),
        lambda: sympy.sympify("open('@FOLDER@/written-by-a-hostile-program', 'w').write('a')"),
        lambda: sympy.lambdify([], "open('/etc/passwd').read()")(),
        lambda: sympy.parse_expr("__import__('os').kill(@PID@, 9)"),
        lambda: autowrap(sympy.Symbol("x") + 1, backend="cython"),
        lambda: autowrap(sympy.Symbol("x") + 1, backend="f2py", tempdir="@FOLDER@"),
        lambda: sympy.preview(sympy.Symbol("x"), viewer="file", filename="@FOLDER@/written-by-a-hostile-program"),
    ):
        try:
            attempt()
        except Exception:
            continue
        return x + 1
    return None
