"""The sentences of the report. Those that depend on the run are written from its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.costs import UNTRAINED
from gldbench.report.gate import CEILING
from gldbench.report.ranges import CUT
from gldbench.schema import Environment, Estimate

NAMED = 5
"""so many missing checkpoints are named on the page; `gldbench report --partial --json` lists all"""
COUNTS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")

FIXED = {
    "gate_rule": (
        "Methods can be compared only in a world where a signal that is known to help does help, and where the same "
        "signal does not help after it was shuffled. The world gate checks this with controls, in each world."
    ),
    "chance_corrected": (
        "Scores are chance-corrected: 0 is the score of the best guess without solving the task, and 100 is a perfect "
        "score."
    ),
    "pairing": (
        "Each difference compares two methods on the same seeds and items. It is the difference of their mean "
        "chance-corrected scores over the compared families, in points."
    ),
    "own_controls": (
        "A variant is the same method with one part changed. A control is a variant in which the part is broken: "
        "shuffled source outputs, a graph whose edges are constant or lie between other nodes, permuted token ids. If "
        "the edges of the graph contribute something, a method scores above its control with the constant graph."
    ),
    "added": (
        "Some methods add terms to another method and keep the weights of that method. Each is compared here with the "
        "method that it adds to."
    ),
    "equal_flops": (
        "At equal FLOPs: here the baseline is sft that is trained for more steps, so that it costs as much as a method "
        "whose sources run over all its training tokens."
    ),
    "exploratory": (
        "Only the primary comparisons were named before the run, and only they have p-values. All other differences "
        "are exploratory: they show where to look, and prove nothing."
    ),
    "tuning_rule": (
        "The weight of each method's own terms was chosen on the validation set, on the same grid for all methods, and "
        "the learning rate was chosen for sft."
    ),
    "everywhere": (
        "Some worlds fail the gate and are left out of the comparison. Over all worlds, these included, the primary "
        "comparisons would be:"
    ),
    "endings": (
        '"ok": the grader found an answer. "no answer": it found none in the output. "truncated": the output was cut '
        "at the token limit."
    ),
    "harder_rule": (
        "The harder test holds longer and deeper instances of the same families. No model was trained on such "
        "instances. The world gate does not use these scores."
    ),
    "intervals": (
        "All intervals are 95% intervals. With several seeds they come from a hierarchical bootstrap over seeds and "
        "items, widened by Student's t because there are few seeds. With several worlds the bootstrap draws worlds "
        "too. If worlds differ by more than their seeds and items explain, few worlds make an interval wide. With one "
        "checkpoint they cover the items only, and a score in one family has Wilson's interval. An interval is cut "
        "where it would leave the range of its metric. Intervals are not adjusted for the number of cells in a table."
    ),
}
"""the sentences that are the same in every report, by their name in the templates"""


def percent(value: float, sign: bool = False) -> str:
    """Formats a share as percent, or a difference of shares as signed points, with one decimal and a true minus."""
    text = f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
    if float(text) == 0:
        text = "0.0"
    return text.replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, sign: bool = False) -> str:
    """Formats the interval of `estimate` as "35.0 to 47.1"."""
    return f"{percent(estimate.low, sign)} to {percent(estimate.high, sign)}"


def significance(analysis: Analysis) -> str:
    """Says what the number of paired seeds allows to claim."""
    if analysis.exploratory:
        return (
            "No comparison was named as primary before the run, so there are no p-values. The differences are "
            "exploratory: they show where to look, and prove nothing."
        )
    differences = analysis.tested
    untested = [difference.n_seeds for difference in differences if difference.reason]
    if untested:
        n = min(untested)
        seeds, verb = ("seed", "is") if n == 1 else ("seeds", "are")
        return (
            f"{_count(n)} {seeds} {verb} too few to claim significance: with {n} paired {seeds}, an exact sign-flip "
            f"test cannot give a p below {2.0 ** (1 - n):.4g}, whatever the scores are."
        )
    if not differences:
        return f"No method was compared with {names.BASELINE}, so nothing can be said about significance."
    n = min(difference.n_seeds for difference in differences)
    return (
        f"p comes from the two-sided sign-flip test over {n} paired seeds. It is adjusted for {len(differences)} "
        "comparisons by Holm's method."
    )


def interval_methods(estimates: Iterable[Estimate]) -> str:
    """Names the kinds of the given intervals, as one sentence for the caption of a table."""
    found = list(dict.fromkeys(_kind(estimate.method) for estimate in estimates))
    cut = any(CUT in estimate.method for estimate in estimates)
    return f"Kind of the intervals: {'; '.join(found)}{f'; {CUT}, where they would leave it' if cut else ''}."


def _kind(method: str) -> str:
    """The kind of interval that `Estimate.method` names, without the number of items, which differs between cells."""
    if " worlds," in method:
        worlds = re.search(r"over (\d+) worlds", method)
        number = worlds[1] if worlds else "the"
        return f"hierarchical bootstrap over {number} worlds, their seeds and their items, widened by Student's t"
    if method.startswith("hierarchical"):
        seeds = re.search(r"over (\d+) seeds", method)
        return f"hierarchical bootstrap over {seeds[1] if seeds else 'the'} seeds and the items, widened by Student's t"
    if method.startswith("Wilson"):
        return "Wilson's interval over the items (one checkpoint, or equal scores)"
    return "bootstrap over the items (one checkpoint)"


def order(analysis: Analysis) -> str:
    """How the lines of the score tables are sorted."""
    if analysis.gate.passes:
        return "Fusion methods are sorted by mean score, highest first. The other lines are in a fixed order."
    return "All lines are in a fixed order: the world gate failed, so methods are not ranked."


def not_measured(analysis: Analysis, environment: Environment) -> list[str]:
    """What a reader may expect but the report does not contain, one sentence or two for each."""
    sentences = ["Real benchmarks: not measured. This page is about the embedded world only."]
    if not analysis.equal_flops:
        sentences.insert(
            0,
            "Equal FLOPs: not measured. Methods are compared after the same number of training steps. The table under "
            '"Time and memory" lists the FLOPs of each method.',
        )
    if len(analysis.gate.worlds) == 1:
        sentences.insert(
            0,
            f"World variance is not measured: the run has one world seed ({analysis.worlds[0]}). Another pivot with "
            "other sources may give other differences.",
        )
    if analysis.variances.order is None:
        sentences.insert(
            0,
            "The seeds of a method vary the sample of the fusion set and the order of its examples together. The "
            "report does not separate these two variances.",
        )
    if environment.device == "cpu":
        sentences.append("GPU time and memory: not measured. All numbers were made on a CPU.")
    if not analysis.harder:
        sentences.append("The harder test was not run.")
    methods = [score.method for score in analysis.scores]
    for suffix, text in names.CONTROL_SUFFIXES.items():
        if not any(method.endswith(suffix) for method in methods):
            sentences.append(f"No control was run in which {text}.")
    sentences += [f"{subject} was not scored on every family, so no table shows it." for subject in analysis.incomplete]
    sentences += [
        f"{names.spoken(family).capitalize()}: {count} {'item is' if count == 1 else 'items are'} left out, because "
        "some method has no score there."
        for family, count in analysis.left_out.items()
    ]
    return sentences


def dropped(analysis: Analysis) -> str:
    """Which families the comparison leaves out, and why."""
    if not analysis.dropped:
        return f"No family was dropped: {names.BASELINE} scores at most {CEILING:.0%} in each (chance-corrected)."
    listed = ", ".join(names.spoken(family) for family in analysis.dropped)
    kept = len(analysis.kept)
    rest = f"Methods are compared on the other {kept} families." if kept else "No family is left to compare methods on."
    return (
        f"Dropped families: {listed}. {names.BASELINE} scores above {CEILING:.0%} there (chance-corrected), so no "
        f"method could be clearly better. {rest}"
    )


def _count(n: int) -> str:
    return COUNTS[n] if n < len(COUNTS) else str(n)


def missing(checkpoints: Sequence[str]) -> str:
    """The sentence about checkpoints that the spec asks for and that have no rows; empty if there are none."""
    if not checkpoints:
        return ""
    more = f" and {len(checkpoints) - NAMED} more" if len(checkpoints) > NAMED else ""
    return (
        f"This report is incomplete: the results of {len(checkpoints)} checkpoints that the spec asks for are missing "
        f"({', '.join(checkpoints[:NAMED])}{more}). Its numbers can differ from those of the whole run."
    )


def setup(spec: Mapping[str, Any], analysis: Analysis) -> str:
    """How the world was made and how methods were trained."""
    world, fusion = spec["world"], spec["fusion"]
    n = len(fusion["seeds"])
    seeds = "one seed" if n == 1 else f"{n} seeds"
    if len(analysis.gate.worlds) > 1:
        per = "in all" if fusion.get("seeds_per") == "all" else "in each"
        seeds += (
            f" {per} of {len(analysis.gate.worlds)} worlds"
            if per == "in each"
            else f" in all, over {len(analysis.gate.worlds)} worlds"
        )
    combined = [name for name, one in spec["methods"].items() if one.get("kind") in UNTRAINED]
    untrained = f" But {', '.join(combined)} are not trained: they combine models that are there." if combined else ""
    wrong = (
        f"{world['wrong_labels']:.0%} of the labels in the fusion set are wrong on purpose, so that the sources have "
        "something to add. The test labels are correct."
        if world["wrong_labels"]
        else "All labels are correct."
    )
    return (
        f"All models of this run were trained from scratch on {len(analysis.chance)} procedural task families. "
        f"{wrong} Every method was trained with {seeds}, for "
        f"{fusion['train']['steps']:,} steps each. With the same seed, all methods train on the same sample of "
        f"{fusion['examples']:,} examples.{untrained}"
    )
