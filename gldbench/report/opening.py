"""What the report opens with: which methods carried knowledge over, by how much, how sure, and in which worlds."""

from __future__ import annotations

from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.comparing import Finding
from gldbench.report.words import interval, percent, significance
from gldbench.stats import PairedDifference
from gldbench.stats.power import ALPHA, POWER


def lead(analysis: Analysis) -> str:
    """The first sentence of the page: which fusion methods carried knowledge over."""
    if not analysis.gate.passes:
        return (
            "This report ranks no methods: its world cannot tell a good method from a bad one, so the differences "
            "between methods are evidence neither for nor against any of them."
        )
    if analysis.exploratory:
        return "This run explores: it shows where to look, and gives no verdict on any method."
    compared = [d for d in _told(analysis) if d.comparison.baseline == names.BASELINE]
    if not compared and analysis.primary:
        return f"The primary comparisons of this run are between fusion methods, none is with {names.BASELINE}."
    if not compared:
        return f"No fusion method other than {names.BASELINE} was run."
    gained = [d.comparison.candidate for d in compared if d.comparison.difference.low > 0]
    if not gained:
        return "No fusion method was shown to carry knowledge over from the sources."
    listed = " and ".join(filter(None, (", ".join(gained[:-1]), gained[-1])))
    if analysis.primary:
        return f"{listed} carried knowledge over from the sources."
    return f"In this run {listed} {'scores' if len(gained) == 1 else 'score'} above {names.BASELINE}."


def found(analysis: Analysis) -> list[str]:
    """What the run says about each fusion method, one sentence for each comparison; empty if it gives no verdicts."""
    if not analysis.gate.passes or analysis.exploratory:
        return []
    if analysis.primary:
        return [_primary(finding, analysis) for finding in sorted(analysis.primary, key=_place)]
    return [_sentence(difference) for difference in _told(analysis)]


def _told(analysis: Analysis) -> list[PairedDifference]:
    """The comparisons that the page opens with."""
    if analysis.primary:
        return [finding.difference for finding in sorted(analysis.primary, key=_place)]
    return [d for d in analysis.differences if names.group_of(d.comparison.candidate) == "method"]


def _sentence(difference: PairedDifference) -> str:
    """One sentence about a difference to sft without a p-value; says if the interval holds zero."""
    estimate, name = difference.comparison.difference, difference.comparison.candidate
    size = f"{percent(estimate.value, True)} points, 95% interval {interval(estimate, True)}"
    if estimate.low <= 0 <= estimate.high:
        return f"{name} cannot be told apart from {names.BASELINE} ({size})."
    return f"{name} scores {'above' if estimate.low > 0 else 'below'} {names.BASELINE} ({size})."


def _place(finding: Finding) -> tuple[bool, bool, float]:
    """Where the sentence of a primary comparison stands: gains first, then losses, the largest difference first."""
    estimate = finding.difference.comparison.difference
    return estimate.low <= 0, estimate.high >= 0, -abs(estimate.value)


def _primary(finding: Finding, analysis: Analysis) -> str:
    """What a primary comparison says: its direction, its size, how sure it is, and what equal FLOPs change."""
    comparison = finding.difference.comparison
    estimate, candidate, baseline = comparison.difference, comparison.candidate, comparison.baseline
    sure = "" if comparison.p is None else f", p = {comparison.p:.2g} after correction"
    size = f"{percent(estimate.value, True)} points, 95% interval {interval(estimate, True)}{sure}"
    if estimate.low == estimate.high == 0:
        why = ": the tuning chose the weight 0 for its own term" if analysis.weights.get(candidate) == 0 else ""
        return f"{candidate} gives the same answers as {baseline}{why}."
    if estimate.low > 0:
        return f"{candidate} scores above {baseline} ({size}).{_at_equal_flops(candidate, baseline, analysis)}"
    if estimate.high < 0:
        return f"{candidate} scores below {baseline} ({size})."
    if finding.detectable is not None:
        least = percent(finding.detectable)
        size += f"; a difference of {least} points would be found with a probability of {POWER:g}"
    if comparison.p is not None and comparison.p < ALPHA and len(analysis.worlds) > 1:
        direction = "above" if estimate.value > 0 else "below"
        return f"In these worlds {candidate} scores {direction} {baseline}, but whether others agree is open ({size})."
    return f"Whether {candidate} differs from {baseline} is not decided ({size})."


def _at_equal_flops(candidate: str, baseline: str, analysis: Analysis) -> str:
    """How a method that gains compares with the longer training that its cost would pay for; empty: not measured."""
    for difference in analysis.equal_flops:
        if baseline == names.BASELINE and difference.comparison.candidate == candidate:
            found = difference.comparison.difference
            return (
                f" Beside {names.BASELINE} that is trained for as many FLOPs: {percent(found.value, True)} points "
                f"({interval(found, True)})."
            )
    return ""


def basis(analysis: Analysis) -> str:
    """What the numbers of the opening are, and what the number of seeds allows to claim."""
    if not analysis.gate.passes:
        return significance(analysis)
    return (
        f"{names.BASELINE} is plain fine-tuning. Each number is a difference of mean chance-corrected scores over "
        f"{len(analysis.kept)} families. {significance(analysis)}"
    )


def gate_sentences(analysis: Analysis) -> list[str]:
    """The verdict of the world gate, and what it is based on, sentence by sentence."""
    gate = analysis.gate
    sentences = [f"{gate.verdict[0].upper()}{gate.verdict[1:]} between good and bad methods."]
    sentences += [f"{reason[0].upper()}{reason[1:]}." for reason in gate.reasons]
    if len(gate.worlds) > 1 and gate.passes and gate.reasons:
        sentences.append("Methods are compared in the worlds that pass. The tables show the other worlds too.")
    return sentences
