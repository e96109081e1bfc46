"""The sentences of the report, written from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.gate import CEILING, MARGIN
from gldbench.schema import Environment, Estimate
from gldbench.stats import PairedDifference

COUNTS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def percent(value: float, sign: bool = False) -> str:
    """A share as percent, or a difference of shares as signed points, with one decimal and a true minus."""
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    if float(text) == 0:
        text = "0.0"
    return text.replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, sign: bool = False) -> str:
    """The interval of `estimate` as "35.0 to 47.1"."""
    return f"{percent(estimate.low, sign)} to {percent(estimate.high, sign)}"


def significance(differences: Sequence[PairedDifference]) -> str:
    """What the number of paired seeds allows to claim."""
    untested = [difference.n_seeds for difference in differences if difference.reason]
    if untested:
        n = min(untested)
        seeds, verb = ("seed", "supports") if n == 1 else ("seeds", "support")
        return (
            f"{_count(n)} {seeds} {verb} no significance claim: with {n} paired {seeds} an exact sign-flip test cannot "
            f"give p below {2.0 ** (1 - n):.4g}, whatever the scores."
        )
    if not differences:
        return f"Nothing was compared with {names.BASELINE}, so there is no significance to speak of."
    n = min(difference.n_seeds for difference in differences)
    return (
        f"p is that of the exact two-sided sign-flip test over {n} paired seeds, adjusted by Holm's "
        f"method over {len(differences)} comparisons."
    )


def verdict(analysis: Analysis) -> list[str]:
    """The opening paragraph, sentence by sentence; the first is the verdict of the world gate."""
    gate = analysis.gate
    sentences = [f"{gate.verdict[0].upper()}{gate.verdict[1:]}."]
    if gate.positive and gate.negative:
        up, down = (control.comparison.difference.value for control in (gate.positive, gate.negative))
        sentences.append(
            f"A signal known to be good, KL to a source with the pivot's vocabulary, moves the mean score by "
            f"{percent(up, True)} points against plain fine-tuning ({names.BASELINE}), where at least "
            f"{percent(MARGIN, True)} are asked; the same signal shuffled moves it by {percent(down, True)}, "
            f"where less than {percent(MARGIN, True)} is asked."
        )
    else:
        sentences += [f"{reason[0].upper()}{reason[1:]}." for reason in gate.reasons]
    if gate.passes:
        sentences.append(_findings(analysis))
    else:
        sentences.append(
            "So this report ranks nothing: methods stand in a fixed order, and their differences are no evidence for "
            "or against any of them."
        )
    return [*sentences, significance(analysis.differences)]


def _findings(analysis: Analysis) -> str:
    methods = [d for d in analysis.differences if names.group_of(d.comparison.candidate) == "method"]
    if not methods:
        return f"No fusion method other than {names.BASELINE} was run."
    listed = "; ".join(
        f"{d.comparison.candidate} {percent(d.comparison.difference.value, True)} points "
        f"({interval(d.comparison.difference, True)})"
        for d in methods
    )
    return f"Against {names.BASELINE}, over {len(analysis.kept)} families: {listed}."


def not_measured(analysis: Analysis, environment: Environment) -> list[str]:
    """What a reader may expect and will not find, each in a sentence."""
    sentences = [
        f"World variance is not measured: one world seed ({analysis.world_seed}). Another pivot with other sources "
        "may give other differences.",
        "Seeds vary the sample of the fusion set and the order of its examples together; their two variances are not "
        "told apart.",
        "Equal FLOPs: methods are compared at equal steps. The table of costs says what each took.",
        "Real benchmarks: this page holds the embedded world alone.",
    ]
    if environment.device == "cpu":
        sentences.append("GPU time and memory: not measured, every number was made on a CPU.")
    if not analysis.harder:
        sentences.append("The harder test was not run.")
    methods = [score.method for score in analysis.scores]
    for suffix, text in names.CONTROL_SUFFIXES.items():
        if not any(method.endswith(suffix) for method in methods):
            sentences.append(f"No control was run in which {text}.")
    sentences += [f"{subject} was not scored on every family and is in no table." for subject in analysis.incomplete]
    sentences += [
        f"{names.spoken(family).capitalize()}: {count} items have no score for some method and are left out for all."
        for family, count in analysis.left_out.items()
    ]
    return sentences


def dropped(analysis: Analysis) -> str:
    """Which families the comparison leaves out."""
    if not analysis.dropped:
        return f"No family was dropped: {names.BASELINE} is at most {CEILING:.0%} on each."
    listed = ", ".join(names.spoken(family) for family in analysis.dropped)
    rest = f"methods are compared on the other {len(analysis.kept)}" if analysis.kept else "nothing is left to compare"
    return f"Dropped, because {names.BASELINE} exceeds {CEILING:.0%} there: {listed}; {rest}."


def _count(n: int) -> str:
    return COUNTS[n] if n < len(COUNTS) else str(n)


def setup(spec: Mapping[str, Any], analysis: Analysis) -> str:
    """How the world was made, in two sentences."""
    world, fusion = spec["world"], spec["fusion"]
    return (
        f"Every model here was trained from scratch on {len(analysis.chance)} procedural task families. "
        f"{world['wrong_labels']:.0%} of the labels in the fusion set are wrong on purpose, so that a source "
        f"has something to add; test labels are clean. Every method trains for {fusion['train']['steps']:,} steps "
        f"on the same {fusion['examples']:,} examples at each of {len(fusion['seeds'])} seeds."
    )
