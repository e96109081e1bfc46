"""The paper's error bound, |GW - gGW| <= (n - 1)/n^2 + (m - 1)/m^2, compared with certified errors.

The paper does not say which power of GW and which normalisation of gGW it means, so every reading is tested. The bound
does not scale with the graphs, but both distances do. So it is tested in three units (`SCALES`): in those of each
family, and in two that do not depend on the scale of the family.

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
SCALES = {
    "family": "the units of the family, in which a training loss would use the graphs",
    "unit mass": "the larger mean absolute edge weight of the two graphs is 1",
    "largest entry 1": "the largest absolute edge weight of the two graphs is 1",
}
"""units in which the bound is tested -> what they are"""
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
        One line per problem and reading: family, n, m, scale, form, normalisation, least_error, bound, verdict.
    """
    keys = ["family", "item", "instance", "device"]
    paper = solved[(solved["solver"] == "ggw") & (solved["device"] == "cpu")][[*keys, "value"]]
    joined = paper.merge(problems, on=keys, suffixes=("", "_problem"))
    lines = []
    for _, row in joined.dropna(subset=["upper", "gw1_upper"]).iterrows():
        units = {"family": float(row["divisor"]), "unit mass": 1.0}
        if "largest" in row and row["largest"] > 0:
            units["largest entry 1"] = 1 / float(row["largest"])
        lines += [line for scale, unit in units.items() for line in _readings(row, scale, unit)]
    return pd.DataFrame(lines)


def _readings(row: pd.Series, scale: str, unit: float) -> list[dict[str, object]]:
    """The lines of one problem, whose stored values are for unit mass, in the given unit."""
    n, m = int(row["n"]), int(row["m"])
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
                {"family": row["family"], "n": n, "m": m, "scale": scale, "form": form, "normalisation": normalisation}
                | {"least_error": error, "bound": bound(n, m)}
                | {"verdict": verdict(*ends[form], estimate, bound(n, m))}
            )
    return lines


def table(lines: pd.DataFrame, scale: str = "family") -> pd.DataFrame:
    """The worst verdict of each family (rows) in each reading (columns). For "fails" also the smallest n that fails.

    Args:
        lines: of `judged`.
        scale: a key of SCALES.
    """
    chosen = lines if lines.empty else lines[lines["scale"] == scale]
    if chosen.empty:
        return pd.DataFrame()
    cells = {}
    for (family, form, normalisation), part in chosen.groupby(["family", "form", "normalisation"], sort=False):
        worst = next(v for v in VERDICTS if (part["verdict"] == v).any())
        failing = part[part["verdict"] == "fails"]
        note = f" from n = {failing['n'].min()}" if worst == "fails" else ""
        cells[family, f"{form}, {normalisation}"] = worst + note
    columns = [f"{form}, {normalisation}" for form in FORMS for normalisation in NORMALISATIONS]
    families = list(dict.fromkeys(family for family, _ in cells))
    return pd.DataFrame([[cells.get((f, c), "–") for c in columns] for f in families], index=families, columns=columns)


def worst_ratio(lines: pd.DataFrame, scale: str = "family") -> float:
    """The largest certified error relative to the bound, over all problems and readings in one unit."""
    chosen = lines[lines["scale"] == scale]
    limits = chosen["bound"].where(chosen["bound"] > 0, np.nan)
    return float((chosen["least_error"] / limits).max())
