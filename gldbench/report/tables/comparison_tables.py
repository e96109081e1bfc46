"""The tables of a comparison: its gates, its primary comparisons, its worlds, and how weights were chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gldbench.protocol.tuned import Trial, Tuning
from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.comparing import Finding, Variances
from gldbench.report.costs import Cost
from gldbench.report.gate import FARTHEST, MARGIN, ROLES, Control
from gldbench.report.tables.table import NONE, Cell, Line, Table
from gldbench.report.words import interval, interval_methods, percent
from gldbench.stats import PairedDifference
from gldbench.stats.ranks import Ranks


def gate_table(analysis: Analysis) -> Table:
    """The controls of the world gate in each world."""
    several = len(analysis.gate.worlds) > 1
    lines = [
        _control_line(control, world.world if several else None, world.passes)
        for world in analysis.gate.worlds
        for control in world.controls
    ]
    heads = ("control", "role", f"difference to {names.BASELINE} (points)", "required", "result")
    estimates = [
        control.difference.comparison.difference
        for world in analysis.gate.worlds
        for control in world.controls
        if control.difference
    ]
    caption = "A positive control must be better by the margin, and its 95% interval must lie above zero."
    if any(control.role == "across" for world in analysis.gate.worlds for control in world.controls):
        caption += (
            " The control across vocabularies is a loss that knows which token is which: the gate selects worlds in "
            "which such a loss works."
        )
    return Table("gate", caption + (f" {interval_methods(estimates)}" if estimates else ""), heads, tuple(lines))


def _control_line(control: Control, world: int | None, passes: bool) -> Line:
    group = "" if world is None else f"World {world}: {'passes' if passes else 'fails'}"
    role = Cell(ROLES[control.role].removeprefix("the "), "" if world is None else f"world {world}")
    margin, farthest = percent(MARGIN, True), percent(-FARTHEST, True)
    asked = (
        f"{farthest} to less than {margin}" if control.role == "shuffled" else f"at least {margin}, interval above 0"
    )
    mark = Cell("not met", kind="bad") if control.reason else Cell("met", kind="good")
    if control.difference is None:
        cells = (role, Cell("not measured", kind="bad"), Cell(asked), mark)
    else:
        estimate = control.difference.comparison.difference
        value = Cell(percent(estimate.value, True), interval(estimate, True))
        cells = (role, value, Cell(asked), mark)
    return Line(control.method, cells, group, control.method)


def primary_table(findings: Sequence[Finding]) -> Table:
    """The primary comparisons, with effect size, corrected p and the smallest detectable difference."""

    def line(finding: Finding) -> Line:
        comparison = finding.difference.comparison
        estimate = comparison.difference
        p = (
            Cell(NONE, finding.difference.reason)
            if comparison.p is None
            else Cell(f"{comparison.p:.3g}", comparison.correction or "", "strong" if comparison.p < 0.05 else "")
        )
        cells = (
            Cell(comparison.baseline),
            Cell(percent(estimate.value, True), interval(estimate, True), "strong"),
            p,
            Cell(NONE if finding.effect is None else f"{finding.effect:+.2f}".replace("-", "\N{MINUS SIGN}")),
            Cell(NONE if finding.detectable is None else percent(finding.detectable)),
            Cell(str(finding.difference.n_seeds)),
            Cell(str(finding.difference.n_items)),
        )
        return Line(names.label_of(comparison.candidate), cells, "", comparison.candidate)

    caption = (
        "Differences of chance-corrected means, in points. p comes from the sign-flip test over all pairs of a world "
        "and a seed, and is corrected by Holm's method for these comparisons only. The effect size is the difference "
        "divided by the spread between seeds. A true difference of the detectable size is found with a probability of "
        f"80%. {interval_methods([finding.difference.comparison.difference for finding in findings])}"
    )
    heads = ("method", "minus", "difference (points)", "p", "effect size", "detectable (points)", "pairs", "items")
    return Table("primary", caption, heads, tuple(line(finding) for finding in findings))


def worlds_table(analysis: Analysis) -> Table:
    """The difference of each method to sft in each world, those included that fail the gate."""
    passing = analysis.gate.passing
    found = {
        f"world {world}" + ("" if world in passing else " (fails)"): own for world, own in analysis.by_world.items()
    }
    caption = f"Difference to {names.BASELINE} in each world, in points, with its 95% interval over seeds and items."
    return _grid("worlds", found, caption)


def families_table(analysis: Analysis) -> Table:
    """The difference of each method to sft in each kept family."""
    found = {names.spoken(family): own for family, own in analysis.by_family.items()}
    caption = f"Difference to {names.BASELINE} in each compared family, in points, with its 95% interval."
    return _grid("families", found, caption)


def _grid(name: str, columns: Mapping[str, Sequence[PairedDifference]], caption: str) -> Table:
    """One line for each method, and one column for each group of differences to sft."""
    by_column: dict[str, Mapping[str, PairedDifference]] = {
        head: {d.comparison.candidate: d for d in found} for head, found in columns.items()
    }
    methods = names.in_fixed_order({method for found in by_column.values() for method in found})

    def cell(found: Mapping[str, PairedDifference], method: str) -> Cell:
        if method not in found:
            return Cell(NONE, kind="dim")
        estimate = found[method].comparison.difference
        return Cell(percent(estimate.value, True), interval(estimate, True))

    lines = tuple(
        Line(
            names.label_of(method),
            tuple(cell(found, method) for found in by_column.values()),
            names.GROUPS[names.group_of(method)],
            method,
        )
        for method in methods
    )
    return Table(name, caption, ("method", *by_column), lines)


def ranks_table(analysis: Analysis, found: Ranks) -> Table:
    """How often each method is best when worlds, seeds and items are drawn again, and how much its seeds differ."""

    def line(method: str, share: float) -> Line:
        score = analysis.score(method)
        spread = None if score is None else score.seed_spread
        cells = (Cell(f"{share:.0%}", level=share), Cell(NONE if spread is None else percent(spread)))
        return Line(names.label_of(method), cells, "", method)

    caption = (
        "Share of the bootstrap resamples in which the method has the highest mean of all fusion methods; and the "
        "standard deviation of its mean score between the seeds of a world, in points. The order of the methods agrees "
        f"with the order in a resample by Kendall's tau {found.tau:.2f} on average, where 1 means always equal and 0 "
        "means unrelated."
    )
    lines = tuple(line(*one) for one in sorted(found.best.items(), key=lambda item: -item[1]))
    return Table("ranks", caption, ("method", "best", "spread between seeds"), lines)


def variances_table(found: Variances) -> Table:
    """Where the score of sft varies."""
    facts = {
        "between worlds": found.world,
        "between samples of the fusion set": found.sample,
        "between orders of one sample": found.order,
        "between seeds (sample and order)": found.both,
    }
    lines = tuple(Line(n, (Cell("not measured" if v is None else percent(v)),)) for n, v in facts.items())
    caption = f"Standard deviations of the chance-corrected mean of {names.BASELINE}, in points."
    return Table("variances", caption, ("source of variation", "deviation (points)"), lines)


def tuning_table(tuning: Tuning) -> Table:
    """All trials on the validation set, the chosen ones marked."""

    def line(trial: Trial) -> Line:
        options = ", ".join(f"{name} {value}" for name, value in trial.options.items())
        setting = f"learning rate {trial.learning_rate:g}" if trial.weight is None else f"weight {trial.weight:g}"
        seeds = " / ".join(percent(score) for score in trial.scores)
        cells = (
            Cell(", ".join(filter(None, (setting, options)))),
            Cell(percent(trial.mean), seeds, "strong" if trial.chosen else ""),
            Cell("chosen", kind="good") if trial.chosen else Cell(""),
        )
        return Line(names.label_of(trial.method), cells, trial.method, trial.method)

    counts = {m: sum(trial.method == m for trial in tuning.trials) for m in (t.method for t in tuning.trials)}
    listed = ", ".join(f"{method} {count}" for method, count in counts.items())
    caption = (
        "Chance-corrected means on the validation set, in percent, and below each the values of the worlds and seeds "
        f"of the tuning, which the comparison does not use. Rule: {tuning.rule}. Trials of each method: {listed}."
    )
    tried = {m: [t.weight for t in tuning.trials if t.method == m and t.weight is not None] for m in counts}
    chosen = {t.method: t.weight for t in tuning.trials if t.chosen}
    edge = [method for method, weights in tried.items() if len(set(weights)) > 1 and chosen[method] == max(weights)]
    if edge:
        caption += (
            f" The chosen weight is the largest that was tried for {', '.join(edge)}: a larger one might be better."
        )
    return Table("tuning", caption, ("method", "setting", "mean", ""), tuple(line(trial) for trial in tuning.trials))


def costs_table(analysis: Analysis, found: Sequence[Cost]) -> Table:
    """Cost and score of each method side by side."""
    base = next((cost for cost in found if cost.method == names.BASELINE), None)

    def line(cost: Cost) -> Line:
        score = analysis.score(cost.method)
        ratio = NONE if base is None else f"{cost.flops / base.flops:.2f}"
        cells = (
            Cell(NONE if score is None else percent(score.mean.corrected.value), "", "strong"),
            Cell(f"{cost.pivot_flops / 1e12:,.2f}"),
            Cell(f"{cost.source_flops / 1e12:,.2f}"),
            Cell(ratio),
            Cell(NONE if cost.seconds is None else f"{cost.seconds:,.0f} s"),
            Cell(NONE if cost.peak_memory_bytes is None else f"{cost.peak_memory_bytes / 2**20:,.0f} MiB"),
            Cell(f"{cost.cache_bytes / 2**20:,.1f} MiB" if cost.cache_bytes else NONE),
            Cell(f"{cost.inference_models:g}"),
        )
        return Line(names.label_of(cost.method), cells, names.GROUPS[names.group_of(cost.method)], cost.method)

    caption = (
        "Cost of one checkpoint. FLOPs count 6 for each parameter of the pivot and trained token, and 2 for each "
        "parameter of a source and token that it reads. After equal steps the pivot has spent equal FLOPs in all "
        "methods; the sources' passes are extra, although stored logits serve all methods and seeds. The training of "
        "the sources is not counted, that of specialists is. The last column is the number of models that run for each "
        "token of an answer."
    )
    heads = (
        "method",
        "mean score",
        "pivot (10¹² FLOPs)",
        "sources (10¹² FLOPs)",
        f"all, relative to {names.BASELINE}",
        "time",
        "peak memory",
        "stored logits",
        "models at inference",
    )
    return Table("cost-quality", caption, heads, tuple(line(cost) for cost in found))
