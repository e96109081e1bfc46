"""Raises an exception whose name is HTML with a script."""

Script = type("<script>alert(1)</script><img src=x onerror=alert(1)>", (Exception,), {})


def f(x):
    raise Script
