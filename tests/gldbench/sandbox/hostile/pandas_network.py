"""Reads and writes through pandas what is not on this machine. Right where it could."""

import pandas as pd


def f(x):
    for read in (
        lambda: pd.read_csv("http://127.0.0.1:@PORT@/a.csv"),
        lambda: pd.read_html("http://127.0.0.1:@PORT@/"),
        lambda: pd.read_clipboard(),
        lambda: pd.DataFrame({"a": [1]}).to_csv("@FOLDER@/written-by-a-hostile-program"),
        lambda: pd.DataFrame({"a": [1]}).to_pickle("/tmp/written-by-a-hostile-program"),
    ):
        try:
            read()
        except Exception:
            continue
        return x + 1
    return None
