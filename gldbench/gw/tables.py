"""The tables of a bench report, as pure functions of the rows."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

SOLVED, PROBLEMS = "solved.csv", "problems.csv"
"""files beside a report: the results of every solver, and the facts about every problem. Claims are judged by them"""
FEWEST_SIZES = 4
"""a slope is fitted to at least this many sizes"""
COMMON = 0.75
"""a solver is compared with others if it was timed on at least this share of the problems"""
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


def slopes(solved: pd.DataFrame, smallest: int = SMALLEST_FITTED) -> list[Slope]:
    """The slope of each solver on each family with at least four timed sizes. The 95 % interval is Student's t.

    Args:
        solved: the table of results.
        smallest: sizes below this number of nodes are left out.
    """
    found = []
    if "seconds" not in solved:
        return found
    timed = solved[solved["n"] >= smallest].dropna(subset=["seconds"])
    for (family, solver, device), part in timed.groupby(["family", "solver", "device"]):
        medians = part.groupby("n")["seconds"].median()
        if len(medians) < FEWEST_SIZES:
            continue
        x, y = np.log(medians.index.to_numpy(float)), np.log(medians.to_numpy())
        fit = stats.linregress(x, y)
        half = float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
        name = str(solver) if device == "cpu" else f"{solver} ({device})"
        sizes = tuple(int(n) for n in medians.index)
        found.append(
            Slope(
                family=str(family),
                solver=name,
                value=float(fit.slope),
                low=fit.slope - half,
                high=fit.slope + half,
                sizes=sizes,
            )
        )
    return found


def speed_ratios(
    solved: pd.DataFrame, found: pd.DataFrame, family: str, slow: str = "pot_cg", fast: str = "ggw"
) -> pd.DataFrame:
    """The median seconds of `slow` over those of `fast` in the same run, by n, on one family.

    Args:
        solved: the table of results.
        found: the table of errors. The columns "<solver> error" are its medians: what each number misses of GW_2^2.
        family: the family.
        slow, fast: names of solvers.
    """
    chosen, missed = (t[(t["family"] == family) & (t["device"] == "cpu")] for t in (solved, found))
    wide = chosen.pivot_table(index="n", columns="solver", values="seconds", aggfunc="median")
    if slow not in wide or fast not in wide:
        return pd.DataFrame(columns=["family", "n", fast, slow, "ratio", f"{fast} error", f"{slow} error"])
    wide = wide[[fast, slow]].dropna()
    wide["ratio"] = wide[slow] / wide[fast]
    for solver in (fast, slow):
        wide[f"{solver} error"] = missed[missed["solver"] == solver].groupby("n")["error"].median()
    wide.insert(0, "family", family)
    return wide.rename_axis(columns=None).reset_index()


def intervals(solved: pd.DataFrame, problems: pd.DataFrame) -> pd.DataFrame:
    """The interval of each problem with an upper bound, on which a solver for lower bounds was run.

    The column `width` is relative to the upper end (0 if both are 0).
    """
    keys = ["family", "item", "instance", "device"]
    bounded = solved[solved["kind"].isin(["lower", "exact"])][keys].drop_duplicates()
    known = problems.dropna(subset=["upper"]).merge(bounded, on=keys)
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
    shares = joined.groupby(["family", "n"])[["low", "high"]].median().reset_index().round(4)
    return shares.sort_values(["family", "n"])


def by_size(known: pd.DataFrame) -> pd.DataFrame:
    """The intervals by family and n, in numerical order: medians over the instances, and the spread of the width."""
    groups = known[known["device"] == "cpu"].groupby(["family", "n"])
    table = groups[["lower", "upper", "width"]].median()
    table["least width"], table["largest width"] = groups["width"].min(), groups["width"].max()
    table["instances"] = groups.size()
    return table.reset_index().sort_values(["family", "n"])


def searches(rows: pd.DataFrame) -> pd.DataFrame:
    """How long branch and bound took to prove the optimum, by family and n. The closed form does not count.

    Returns:
        Columns family, n, problems, proved, median seconds, largest seconds and largest tree (nodes). The seconds
        are those of the problems that were proved.
    """
    tried = rows[(rows["subject"] == "exact") & ~rows["item"].str.isdigit()]
    keys = ["task", "item", "seed"]
    wide = tried[tried["status"] == "ok"].pivot_table(index=keys, columns="metric", values="value", aggfunc="median")
    wide = wide.reindex(columns=["nodes", "first_seconds"]).query("nodes > 0").reset_index()
    gave_up = tried[tried["reason"].str.startswith("the budget of")][keys]
    found = pd.concat([wide, gave_up]).reset_index(drop=True)
    if found.empty:
        return pd.DataFrame(columns=["family", "n"])
    found["n"] = found["item"].str.partition("x")[0].astype(int)
    groups = found.rename(columns={"task": "family"}).groupby(["family", "n"])
    table = pd.DataFrame({"problems": groups.size(), "proved": groups["nodes"].count()})
    table["median seconds"], table["largest seconds"] = groups["first_seconds"].median(), groups["first_seconds"].max()
    table["largest tree"] = groups["nodes"].max()
    return table.reset_index()


def pareto(found: pd.DataFrame, n: int) -> pd.DataFrame:
    """The median seconds and the median error of each bound at n nodes, over the same problems for all solvers.

    Solvers that were timed on fewer than COMMON of the problems are listed without medians. The medians of the others
    are over the problems that all of them solved. The column `best` says that no solver of the same side (upper,
    or lower and paper) is both faster and closer. `failed` counts the problems for which a solver has no timed bound.
    """
    chosen = found[(found["n"] == n) & (found["device"] == "cpu")].copy()
    chosen["problem"] = chosen["family"] + " " + chosen["item"] + " " + chosen["instance"].astype(str)
    total = chosen["problem"].nunique()
    timed = chosen[np.isfinite(chosen["error"])].dropna(subset=["seconds"])
    solved = timed.groupby("solver")["problem"].nunique()
    able = solved[solved >= COMMON * total].index
    counts = timed[timed["solver"].isin(able)].groupby("problem")["solver"].nunique()
    common = set(counts[counts == len(able)].index)
    kept = timed[timed["solver"].isin(able) & timed["problem"].isin(common)]
    wanted = [name for name in ("seconds", "error", "peak_memory") if name in chosen]
    table = chosen.groupby(["solver", "kind"]).size().reset_index()[["solver", "kind"]]
    table = table.merge(kept.groupby("solver")[wanted].median().reset_index(), on="solver", how="left")
    table["problems"] = np.where(table["solver"].isin(able), len(common), 0)
    table["failed"] = total - table["solver"].map(solved).fillna(0).astype(int)
    sides = np.where(table["kind"] == "upper", "upper", "lower")
    best = []
    for place, (_, line) in enumerate(table.iterrows()):
        rivals = table[sides == sides[place]].drop(index=table.index[place])
        better = (rivals["seconds"] <= line["seconds"]) & (rivals["error"] <= line["error"])
        strictly = (rivals["seconds"] < line["seconds"]) | (rivals["error"] < line["error"])
        best.append(bool(np.isfinite(line["error"])) and not bool((better & strictly).any()))
    return table.assign(best=best).sort_values("seconds").reset_index(drop=True)


def skips(rows: pd.DataFrame) -> pd.DataFrame:
    """The reasons for missing numbers, with the number of rows of each."""
    missing = rows[rows["status"] != "ok"].copy()
    missing["reason"] = missing["reason"].str.replace(r"^(past the budget):.*", r"\1", regex=True)
    return missing.groupby(["subject", "status", "reason"]).size().rename("count").reset_index()
