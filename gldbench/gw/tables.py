"""The tables of a bench report, as pure functions of the rows."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

FEWEST_SIZES = 4
"""a slope is fitted to at least this many sizes"""
SMALLEST_FITTED = 64
"""nodes; for smaller problems the time is mostly the overhead of the call"""


@dataclass(frozen=True)
class Slope:
    """The exponent of the time in n, fitted by least squares to the logarithms."""

    family: str
    solver: str
    value: float
    low: float
    """lower end of the 95 % interval"""
    high: float
    sizes: tuple[int, ...]
    """nodes, ascending"""


def results(rows: pd.DataFrame, subject: str | None = None) -> pd.DataFrame:
    """Makes a table with one line per solver and problem.

    Args:
        rows: of a bench, as a frame.
        subject: "problem" for one line per problem instead, with the facts that are known about it.

    Returns:
        Columns family, n, m, instance, device, solver and kind, and one column per metric with its median.
    """
    good = rows[(rows["status"] == "ok") & ~rows["item"].str.isdigit()]
    good = good[good["subject"] == "problem"] if subject == "problem" else good[good["subject"] != "problem"]
    keys = ["task", "item", "seed", "variant", "subject", "method"]
    wide = good.pivot_table(index=keys, columns="metric", values="value", aggfunc="median").reset_index()
    sizes = wide["item"].str.split("x", expand=True).astype(int)
    wide["n"], wide["m"] = sizes[0], sizes[1]
    names = {"task": "family", "seed": "instance", "variant": "device", "subject": "solver", "method": "kind"}
    return wide.rename(columns=names)


def slopes(solved: pd.DataFrame) -> list[Slope]:
    """The slope of each solver on each family with at least four timed sizes. The 95 % interval is Student's t."""
    found = []
    if "seconds" not in solved:
        return found
    timed = solved[solved["n"] >= SMALLEST_FITTED].dropna(subset=["seconds"])
    for (family, solver, device), part in timed.groupby(["family", "solver", "device"]):
        medians = part.groupby("n")["seconds"].median()
        if len(medians) < FEWEST_SIZES:
            continue
        x, y = np.log(medians.index.to_numpy(float)), np.log(medians.to_numpy())
        fit = stats.linregress(x, y)
        half = float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
        name = str(solver) if device == "cpu" else f"{solver} ({device})"
        sizes = tuple(int(n) for n in medians.index)
        found.append(Slope(str(family), name, float(fit.slope), fit.slope - half, fit.slope + half, sizes))
    return found


def speed_ratios(solved: pd.DataFrame, family: str, slow: str = "pot_cg", fast: str = "ggw") -> pd.DataFrame:
    """The median seconds of `slow` over those of `fast` in the same run, by n, on one family."""
    chosen = solved[(solved["family"] == family) & (solved["device"] == "cpu")]
    wide = chosen.pivot_table(index="n", columns="solver", values="seconds", aggfunc="median")
    if slow not in wide or fast not in wide:
        return pd.DataFrame(columns=["n", fast, slow, "family", "ratio"])
    wide = wide[[fast, slow]].dropna()
    return wide.assign(family=family, ratio=wide[slow] / wide[fast]).reset_index()


def intervals(problems: pd.DataFrame) -> pd.DataFrame:
    """The interval of each problem that has an upper bound. `width` is relative to the upper end (0 if both are 0)."""
    known = problems.dropna(subset=["upper"]).copy()
    gap = (known["upper"] - known["lower"]).clip(lower=0)
    known["width"] = np.where(known["upper"] > 1e-15, gap / known["upper"].clip(lower=1e-300), 0.0)
    return known


def errors(solved: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The relative error of each bound, per solver and problem.

    The error is |value - exact| / exact if exact is known. Otherwise it is the distance to the other end of the
    interval over its upper end; the true distance to GW_2^2 is not larger. The paper's number is used as ggw_mean^2,
    a lower bound of GW_2^2. The column `certain` says whether exact is known.
    """
    keys = ["family", "item", "instance", "device"]
    wanted = solved[solved["kind"].isin(["lower", "upper", "exact", "paper"])].dropna(subset=["value"])
    columns = [c for c in ("lower", "upper", "exact") if c in problems]
    joined = wanted.merge(problems[[*keys, *columns]], on=keys)
    joined = joined.dropna(subset=["upper"])
    squared = np.where(joined["kind"] == "paper", joined["value"] ** 2, joined["value"])
    exact = joined["exact"] if "exact" in joined else pd.Series(np.nan, joined.index)
    far = np.where(joined["kind"] == "upper", joined["lower"], joined["upper"])
    reference = exact.fillna(pd.Series(far, joined.index))
    scale = exact.fillna(joined["upper"])
    gap = np.abs(squared - reference)
    joined["error"] = np.where(scale > 1e-15, gap / scale.clip(lower=1e-300), np.where(gap < 1e-15, 0.0, np.inf))
    joined["certain"] = exact.notna()
    return joined


def shares(solved: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The share of GW_2^2 that sorting captures, by family and n: ggw_mean^2 over both ends of the interval."""
    keys = ["family", "item", "instance", "device"]
    seen = solved[solved["solver"] == "ggw"][[*keys, "value"]].dropna()
    joined = seen.merge(problems.dropna(subset=["upper"]), on=keys)
    square = joined["value"] ** 2
    joined["low"] = np.where(joined["upper"] > 1e-15, square / joined["upper"].clip(lower=1e-300), np.nan)
    highest = (square / joined["lower"].clip(lower=1e-300)).clip(upper=1)
    joined["high"] = np.where(joined["lower"] > 1e-15, highest, np.nan)
    return joined.groupby(["family", "n"])[["low", "high"]].median().reset_index().round(4)


def pareto(found: pd.DataFrame, n: int) -> pd.DataFrame:
    """The median seconds and the median error of each bound over the families, at n nodes.

    The column `best` says that no solver of the same side (upper, or lower and paper) is both faster and closer.
    """
    chosen = found[(found["n"] == n) & (found["device"] == "cpu") & np.isfinite(found["error"])]
    chosen = chosen.dropna(subset=["seconds"])
    wanted = [name for name in ("seconds", "error", "peak_memory") if name in chosen]
    table = chosen.groupby(["solver", "kind"])[wanted].median().reset_index()
    counts = chosen.groupby("solver")["family"].nunique()
    table["families"] = table["solver"].map(counts)
    sides = np.where(table["kind"] == "upper", "upper", "lower")
    best = []
    for index, line in table.iterrows():
        rivals = table[(sides == sides[table.index.get_loc(index)]) & (table.index != index)]
        better = (rivals["seconds"] <= line["seconds"]) & (rivals["error"] <= line["error"])
        strictly = (rivals["seconds"] < line["seconds"]) | (rivals["error"] < line["error"])
        best.append(not bool((better & strictly).any()))
    return table.assign(best=best).sort_values("seconds").reset_index(drop=True)


def skips(rows: pd.DataFrame) -> pd.DataFrame:
    """The reasons for missing numbers, with the number of rows of each."""
    missing = rows[rows["status"] != "ok"].copy()
    missing["reason"] = missing["reason"].str.replace(r"^(past the budget):.*", r"\1", regex=True)
    return missing.groupby(["subject", "status", "reason"]).size().rename("count").reset_index()
