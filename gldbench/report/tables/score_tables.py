"""The tables made from scores: means, world gate, checks of the families, differences, how answers ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.gate import LEAST_MOVE, PIVOT_RANGE, ROUNDING, SPECIALIST_MINIMUM, Check
from gldbench.report.method_scores import MethodScore
from gldbench.report.tables.table import NONE, Cell, Line, Table
from gldbench.report.words import interval, interval_methods, percent
from gldbench.stats import PairedDifference

MOST_SEEDS = 6
"""a cell lists the counts of at most this many checkpoints"""


def scores_table(name: str, scores: Sequence[MethodScore], analysis: Analysis, corrected: bool) -> Table:
    """Scores of each method in each family, in percent, with intervals. Dropped families are the last columns."""
    present = scores[0].families
    families = [family for family in (*analysis.kept, *analysis.dropped) if family in present]

    def line(score: MethodScore) -> Line:
        cells = [score.mean, *(score.families[family] for family in families)]
        chosen = [cell.corrected if corrected else cell.raw for cell in cells]
        kinds = ["strong", *("dim" if family in analysis.dropped else "" for family in families)]
        return Line(
            names.label_of(score.method),
            tuple(
                Cell(percent(e.value), interval(e), kind, None if kind else min(1.0, max(0.0, e.value)))
                for e, kind in zip(chosen, kinds, strict=True)
            ),
            names.GROUPS[names.group_of(score.method)],
            score.method,
        )

    shown = [
        cell.corrected if corrected else cell.raw
        for score in scores
        for cell in (score.mean, *(score.families[family] for family in families))
    ]
    averaged = [family for family in families if family in analysis.averaged]
    what = "Chance-corrected exact match" if corrected else "Exact match"
    caption = (
        f"{what} in percent, with its 95% interval. The mean is over {len(averaged)} families. "
        f"Every family has the same weight. {interval_methods(shown)}"
    )
    heads = [names.spoken(family) + (" (dropped)" if family in analysis.dropped else "") for family in families]
    return Table(name, caption, ("method", "mean", *heads), tuple(line(score) for score in scores))


def checks_table(analysis: Analysis) -> Table:
    """For each family: the scores of the pivot, its sources and sft, and whether the family is compared."""

    def line(check: Check) -> Line:
        sources = "; ".join(f"{source} {percent(score)}" for source, score in check.specialists.items())
        if check.sft is None:
            use = Cell("not compared", f"no {names.BASELINE}", "bad")
        else:
            use = Cell("dropped", "", "bad") if check.dropped else Cell("compared")
        cells = (
            Cell(percent(analysis.chance[check.family])),
            Cell(
                NONE if check.pivot is None else percent(check.pivot),
                _out(check.pivot_in_range),
                _kind(check.pivot_in_range),
            ),
            Cell(sources or NONE, _out(check.specialists_strong), _kind(check.specialists_strong)),
            Cell(NONE if check.sft is None else percent(check.sft)),
            use,
        )
        return Line(names.spoken(check.family), cells)

    low, high = PIVOT_RANGE
    heads = (
        "family",
        "chance",
        f"pivot ({100 * low:g} to {100 * high:g})",
        f"its sources (at least {100 * SPECIALIST_MINIMUM:g})",
        names.BASELINE,
        "use",
    )
    caption = (
        "All values are in percent. Scores are chance-corrected. A heading names the range that a score should lie "
        f'in. "out of range" means: a pivot below {100 * low:g} has hardly learned the family, a pivot above '
        f"{100 * high:g} has little left to learn, and a source below {100 * SPECIALIST_MINIMUM:g} in its own family "
        "has little to teach. Such a family is still compared, but a missing difference there says little about a "
        f"method. {names.BASELINE} should raise the mean of the pivot by at least {100 * LEAST_MOVE:g} points."
    )
    return Table("checks", caption, heads, (*(line(check) for check in analysis.checks), *_moved(analysis)))


def _moved(analysis: Analysis) -> list[Line]:
    """The lines of the means, one for each world: how far sft raises the pivot."""
    lines = []
    for world, (before, after) in analysis.moved.items():
        enough = after - before >= LEAST_MOVE - ROUNDING
        moved = Cell(f"moved by {percent(after - before, True)} points", "" if enough else "too little", _kind(enough))
        label = "mean" if len(analysis.moved) == 1 else f"mean, world {world}"
        lines.append(Line(label, (Cell(NONE), Cell(percent(before)), Cell(NONE), Cell(percent(after)), moved)))
    return lines


def differences_table(name: str, differences: Sequence[PairedDifference]) -> Table:
    """Paired differences of chance-corrected means, in points. There is a column for p if any comparison has a p."""
    tested = any(difference.comparison.p is not None for difference in differences)

    def line(difference: PairedDifference) -> Line:
        comparison = difference.comparison
        estimate = comparison.difference
        same = estimate.low == estimate.high == 0
        p = (
            Cell(NONE, difference.reason)
            if comparison.p is None
            else Cell(f"{comparison.p:.3g}", comparison.correction or "")
        )
        cells = (
            Cell(comparison.baseline),
            Cell(percent(estimate.value, True), "equal on every item" if same else interval(estimate, True)),
            Cell(str(difference.n_seeds)),
            Cell(str(difference.n_items)),
            *([p] if tested else []),
        )
        group = names.GROUPS[names.group_of(comparison.candidate)]
        return Line(names.label_of(comparison.candidate), cells, group, comparison.candidate)

    heads = ("method", "minus", "difference (points)", "seeds", "items", *(["p"] if tested else []))
    caption = interval_methods([difference.comparison.difference for difference in differences]) if differences else ""
    return Table(name, caption, heads, tuple(line(difference) for difference in differences))


def statuses_table(analysis: Analysis) -> Table:
    """How many answers of each checkpoint ended in each status."""
    found = {status for counts in analysis.statuses.values() for status in counts}
    heads = ["ok", "no_answer", "truncated", *sorted(found - {"ok", "no_answer", "truncated"})]

    def cell(counts: Mapping[str, tuple[int, ...]], status: str) -> Cell:
        seeds = counts.get(status, ())
        by_seed = " / ".join(f"{n:,}" for n in seeds) if 1 < len(seeds) <= MOST_SEEDS and sum(seeds) else ""
        return Cell(f"{sum(seeds):,}", by_seed, "" if sum(seeds) else "dim")

    lines = tuple(
        Line(
            names.label_of(method),
            tuple(cell(counts, status) for status in heads),
            names.GROUPS[names.group_of(method)],
            method,
        )
        for method, counts in analysis.statuses.items()
    )
    caption = (
        "Graded answers on the test and the harder test, summed over worlds and seeds. If there are at most "
        f"{MOST_SEEDS} checkpoints of a method, the count of each follows."
    )
    return Table("answers", caption, ("method", *(head.replace("_", " ") for head in heads)), lines)


def _out(inside: bool | None) -> str:
    return "out of range" if inside is False else ""


def _kind(inside: bool | None) -> str:
    return "bad" if inside is False else ""
