"""The report of a bench: Markdown, figures and a JSON summary. It depends on the stored rows only."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pandas ships no annotations that tell a frame from a series.

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gldbench.env import read_environment
from gldbench.gw import claims, figures, tables
from gldbench.gw.solvers import KINDS
from gldbench.gw.solvers.exact_search import SECONDS
from gldbench.printable import markdown
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, write_json

SPEED_FAMILIES = ("synthetic-rank-raw", "synthetic-vocabulary-raw")
"""the speed ratio of the paper's claim is measured on these families, because T = n there"""
MOST = 0.75
"""the Pareto picture takes a size with at least this share of the timings of the size that has most"""


DEFINITIONS = (
    "**Error** of a solver on a problem: |value - GW_2^2| / GW_2^2 where GW_2^2 is known exactly. Otherwise it is the "
    "distance to the other end of the certified interval, divided by the upper end; the true error is not larger. The "
    "paper's number counts as ggw_mean^2. An error of 0.3 of a lower bound means that the bound misses 30 % of GW_2^2. "
    "**Width** of an interval: (upper - lower) / upper. **–** in a table: the number does not exist. "
    "**Kind** of a solver: what it returns."
)


@dataclass(frozen=True)
class BenchReport:
    """The path of report.md, and the content of summary.json."""

    path: Path
    summary: dict[str, Any]


def write_report(run: Path, folder: Path) -> BenchReport:
    """Writes report.md, summary.json, solved.csv, problems.csv and the figures of the bench in `run` into `folder`.

    Raises:
        InputError: `run` holds no rows.
    """
    rows = Store(run).frame()
    if rows.empty:
        raise InputError(f"{run} holds no rows of a bench\nrun `gldbench gw bench` first")
    solved, problems = tables.results(rows), tables.results(rows, "problem")
    if "upper" not in problems:
        raise InputError(
            f"{run} has no upper bound of any problem, so that no error is known\n"
            "name a solver of each kind lower and upper in the bench, such as flb and sorted"
        )
    known = tables.intervals(solved, problems)
    found = tables.errors(solved, problems)
    lines = claims.judged(solved, problems)
    n = _pareto_size(found)
    front = tables.pareto(found, n)
    ratios = pd.concat([tables.speed_ratios(solved, found, family) for family in SPEED_FAMILIES])
    parts = _Parts(
        slopes=tables.slopes(solved),
        ratios=ratios,
        intervals=known,
        shares=tables.shares(solved, problems),
        claims=lines,
        pareto=front,
        pareto_n=n,
        searches=tables.searches(rows),
    )
    timed = figures.families_of(solved, tables.FEWEST_SIZES)
    pictures = {f"time-{family}": figures.time_against_n(solved, family) for family in timed}
    pictures |= {
        "interval": figures.width_against_n(known),
        "error": figures.error_against_n(found),
        "pareto": figures.pareto_picture(front, n),
    }
    for name, image in pictures.items():
        with atomic_write(folder / f"{name}.png") as file:
            file.write(image)
    _write_csv(solved, folder / tables.SOLVED)
    _write_csv(problems, folder / tables.PROBLEMS)
    environment = asdict(read_environment(run))
    text = _markdown(parts, tables.skips(rows), list(pictures), environment)
    with atomic_write(folder / "report.md", "w") as file:
        file.write(text)
    summary = _summary(parts)
    write_json(folder / "summary.json", summary)
    return BenchReport(folder / "report.md", summary)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Writes the columns of a table of results that claims need."""
    unused = ["absolute_cost", "first_seconds", "peak_memory", "proved_lower", "proved_upper", "nodes"]
    with atomic_write(path, "w") as file:
        frame.drop(columns=unused, errors="ignore").to_csv(file, index=False, float_format="%.12g")


@dataclass(frozen=True)
class _Parts:
    """The tables of a report."""

    slopes: list[tables.Slope]
    ratios: pd.DataFrame
    intervals: pd.DataFrame
    shares: pd.DataFrame
    claims: pd.DataFrame
    pareto: pd.DataFrame
    pareto_n: int
    searches: pd.DataFrame


def _pareto_size(found: pd.DataFrame) -> int:
    """The largest size that has nearly as many timings as the size with most."""
    counts = found.dropna(subset=["seconds"]).groupby("n").size()
    return int(max(n for n in counts.index if counts[n] >= MOST * counts.max()))


def _summary(parts: _Parts) -> dict[str, Any]:
    widest = parts.intervals.sort_values("width").iloc[-1]
    per_second = parts.pareto[parts.pareto["kind"].isin(["lower", "paper"])].dropna(subset=["error"]).copy()
    per_second["closed_per_second"] = (1 - per_second["error"]).clip(lower=0) / per_second["seconds"]
    best = per_second.sort_values("closed_per_second").iloc[-1]
    return {
        "slopes": [asdict(slope) for slope in parts.slopes],
        "speed_ratios": parts.ratios.to_dict("records"),
        "widest_interval": {k: widest[k] for k in ("family", "lower", "upper", "width")} | {"n": int(widest["n"])},
        "best_lower_bound_per_second": {k: best[k] for k in ("solver", "seconds", "error")} | {"n": parts.pareto_n},
        "pareto": parts.pareto.to_dict("records"),
        "shares": parts.shares.to_dict("records"),
        "searches": parts.searches.to_dict("records"),
        "claims": claims.table(parts.claims).to_dict("index"),
        "claims_by_scale": {scale: claims.table(parts.claims, scale).to_dict("index") for scale in claims.SCALES},
        "worst_error_over_bound": claims.worst_ratio(parts.claims),
    }


def _markdown(parts: _Parts, skips: pd.DataFrame, pictures: list[str], environment: dict[str, Any]) -> str:
    slopes = pd.DataFrame([asdict(slope) for slope in parts.slopes])
    if not slopes.empty:
        slopes["sizes"] = [f"{s[0]} ... {s[-1]} ({len(s)})" for s in slopes["sizes"]]
    summary = _summary(parts)
    sections = [
        "# Gromov-Wasserstein bench",
        _setting(environment),
        _highlights(summary),
        "## Definitions",
        DEFINITIONS,
        *(f"- *{kind}*: {meaning}" for kind, meaning in KINDS.items()),
        "## Time against n",
        "The table shows the exponent of the median time in n, with its 95 % interval.",
        markdown_table(slopes),
        "### Sorting against conditional gradient",
        _ratio_text(parts.ratios),
        markdown_table(parts.ratios),
        "## The paper's error bound",
        "The paper states |GW - gGW| <= (n - 1)/n^2 + (m - 1)/m^2, but not which power of GW and which normalisation "
        "of gGW it means. Each column is one reading. Each cell is the worst verdict over the problems of a family. "
        "*holds*: the error cannot be larger than the bound. *holds vacuously*: the bound holds, and it would also "
        "hold if gGW were replaced by the constant 0, because GW itself is not larger than the bound. *fails*: the "
        "error is certainly larger than the bound. *open*: the interval around GW is too wide for a verdict. The bound "
        "does not scale with the graphs, so it is tested in three units.",
        *_claims(parts.claims),
        "## Share of GW_2^2 that sorting captures",
        "The share is ggw_mean^2 / GW_2^2. GW_2^2 lies in an interval, so the share lies between `low` and `high`. "
        "Each number is a median over the instances. –: GW_2^2, or its lower end, is 0, so there is no share.",
        markdown_table(parts.shares),
        f"## Error against time at n = {parts.pareto_n}",
        "The table compares all solvers on the same problems: those that every listed solver with numbers has solved. "
        "Seconds, error and peak memory (bytes) are medians over these `problems`. `failed` is the number of problems "
        "of this size for which a solver has no timed bound, of whatever reason; a solver that failed on more than a "
        "quarter of them has no numbers (–). `best`: no solver of the same side is both faster and closer.",
        markdown_table(parts.pareto),
        "## Certified intervals",
        "GW_2^2 lies between `lower` and `upper`. `width` is (upper - lower) / upper, and 0 if both are 0. These "
        "numbers are medians over the instances of one family and size. `least width` and `largest width` are the "
        "spread of the instances.",
        markdown_table(tables.by_size(parts.intervals)),
        "### The optimum by branch and bound",
        "Branch and bound searches for the best permutation of semi-definite graphs and proves it. `proved` is the "
        f"number of `problems` on which it finished within {SECONDS:g} s. `largest tree` counts nodes of its tree.",
        markdown_table(parts.searches),
        "## Figures",
        *(f"![{name}]({name}.png)" for name in pictures),
        "## Skipped",
        markdown_table(skips),
    ]
    return "\n\n".join(map(markdown, sections)) + "\n"


def _claims(lines: pd.DataFrame) -> list[str]:
    """One heading, text and table for each unit."""
    found = []
    for scale, meaning in claims.SCALES.items():
        table = claims.table(lines, scale)
        if not table.empty:
            worst = claims.worst_ratio(lines, scale)
            found += [f"### Units: {scale}", f"Here {meaning}." if scale != "family" else f"These are {meaning}."]
            found += [f"The largest certified error is {worst:.3g} times the bound."]
            found += [markdown_table(table.rename_axis("family").reset_index())]
    return found


def _setting(environment: dict[str, Any]) -> str:
    changes = " with uncommitted changes" if environment["dirty"] else ""
    return (
        f"The bench ran on one thread of {environment['cpu']}, with Python {environment['python']}, environment "
        f"{environment['env_id']} and commit {environment['commit']}{changes}. All values are for the squared loss and "
        "for graphs of unit mass. Only the tables of the paper's error bound use other units."
    )


def _highlights(summary: dict[str, Any]) -> str:
    widest, best = summary["widest_interval"], summary["best_lower_bound_per_second"]
    return (
        f"The widest certified interval is that of {widest['family']} at n = {widest['n']}: its width is "
        f"{widest['width']:.1%} of its upper end. The lower bound that captures most of GW_2^2 per second at n = "
        f"{best['n']} is {best['solver']} ({best['seconds'] * 1e6:.0f} us, relative error {best['error']:.2g})."
    )


def _ratio_text(ratios: pd.DataFrame) -> str:
    text = (
        "`ratio` is the time of POT's conditional gradient over that of sorted gGW, which starts from logits and "
        "computes the features too. There are T = n positions. Faster is not closer: `ggw error` and `pot_cg error` "
        "are what each number misses of GW_2^2, the first from below and the second from above. "
    )
    for family, part in ratios.groupby("family", sort=False):
        course = "rises" if part["ratio"].iloc[-1] > part["ratio"].iloc[0] else "falls"
        text += f"On {family} the ratio {course} with n. "
    return text.rstrip() if len(ratios) else "The ratio was not measured: no size has times of both solvers."


def markdown_table(frame: pd.DataFrame) -> str:
    """A Markdown table with numbers of four digits. NaN, a number that does not exist, is shown as –."""
    if frame.empty:
        return "None."
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [[_cell(value) for value in line] for line in frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value).replace("|", "/")
