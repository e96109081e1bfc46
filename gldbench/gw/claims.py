"""The paper's error bound, |GW - gGW| <= (n - 1)/n^2 + (m - 1)/m^2, compared with certified errors.

The paper does not say which power of GW and which normalisation of gGW it means, so every reading is tested. The test
uses the units of each family: the bound does not scale with the graphs, so scaling them to unit mass would change it.

    holds            the error cannot be larger than the bound
    holds vacuously  the bound holds, and it would also hold if gGW were replaced by the constant 0
    fails            the error is certainly larger than the bound
    open             the interval around GW is too wide for a verdict
"""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

import numpy as np
import pandas as pd

FORMS = ("GW_1", "GW_2", "GW_2^2")
NORMALISATIONS = ("ggw_sum", "ggw_mean")
VERDICTS = ("fails", "open", "holds", "holds vacuously")
"""worst first; a family gets the worst verdict of its problems"""


def bound(n: int, m: int) -> float:
    """(n - 1)/n^2 + (m - 1)/m^2"""
    return (n - 1) / n**2 + (m - 1) / m**2


def verdict(low: float, high: float, estimate: float, limit: float) -> str:
    """The verdict on one problem.

    Args:
        low: GW is not below this.
        high: GW is not above this.
        estimate: value of the approximation.
        limit: the bound on the error.
    """
    rounding = 1e-9 * max(1.0, high, estimate)
    least = max(0.0, low - estimate, estimate - high)
    most = max(high - estimate, estimate - low)
    if least > limit + rounding:
        return "fails"
    if most > limit + rounding:
        return "open"
    return "holds vacuously" if high <= limit else "holds"


def judged(solved: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """Judges every problem that has an upper bound, in every reading.

    Returns:
        One line per problem and reading: family, n, m, form, normalisation, least_error, bound, verdict.
    """
    keys = ["family", "item", "instance", "device"]
    paper = solved[(solved["solver"] == "ggw") & (solved["device"] == "cpu")][[*keys, "value"]]
    joined = paper.merge(problems, on=keys, suffixes=("", "_problem"))
    lines = [line for _, row in joined.dropna(subset=["upper", "gw1_upper"]).iterrows() for line in _readings(row)]
    return pd.DataFrame(lines)


def _readings(row: pd.Series) -> list[dict[str, object]]:
    n, m, unit = int(row["n"]), int(row["m"]), float(row["divisor"])
    low, high = unit**2 * row["lower"], unit**2 * row["upper"]
    ends = {
        "GW_1": (unit * row["gw1_lower"], unit * row["gw1_upper"]),
        "GW_2": (low**0.5, high**0.5),
        "GW_2^2": (low, high),
    }
    mean = unit * row["value"]
    lines = []
    for form in FORMS:
        for normalisation in NORMALISATIONS:
            if normalisation == "ggw_sum" and n != m:
                continue  # ggw_sum is defined for n = m only
            estimate = mean * n if normalisation == "ggw_sum" else mean
            error = max(0.0, ends[form][0] - estimate, estimate - ends[form][1])
            lines.append(
                {"family": row["family"], "n": n, "m": m, "form": form, "normalisation": normalisation}
                | {"least_error": error, "bound": bound(n, m)}
                | {"verdict": verdict(*ends[form], estimate, bound(n, m))}
            )
    return lines


def table(lines: pd.DataFrame) -> pd.DataFrame:
    """The worst verdict of each family (rows) in each reading (columns). For "fails" also the smallest n that fails."""
    if lines.empty:
        return pd.DataFrame()
    cells = {}
    for (family, form, normalisation), part in lines.groupby(["family", "form", "normalisation"], sort=False):
        worst = next(v for v in VERDICTS if (part["verdict"] == v).any())
        failing = part[part["verdict"] == "fails"]
        note = f" from n = {failing['n'].min()}" if worst == "fails" else ""
        cells[family, f"{form}, {normalisation}"] = worst + note
    columns = [f"{form}, {normalisation}" for form in FORMS for normalisation in NORMALISATIONS]
    families = list(dict.fromkeys(family for family, _ in cells))
    return pd.DataFrame([[cells.get((f, c), "–") for c in columns] for f in families], index=families, columns=columns)


def worst_ratio(lines: pd.DataFrame) -> float:
    """The largest certified error relative to the bound, over all problems and readings."""
    limits = lines["bound"].where(lines["bound"] > 0, np.nan)
    return float((lines["least_error"] / limits).max())
