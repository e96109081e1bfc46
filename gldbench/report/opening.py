"""What the report opens with: which methods carried knowledge over, by how much, how sure, and in which worlds."""

from __future__ import annotations

from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.comparing import Finding
from gldbench.report.words import interval, percent, significance
from gldbench.stats import PairedDifference


def answer(analysis: Analysis) -> str:
    """What the run says about the fusion methods, in a few sentences: the first thing on the page."""
    if not analysis.gate.passes:
        return (
            "This report ranks no methods: its world cannot tell a good method from a bad one, so the differences "
            "between methods are evidence neither for nor against any of them."
        )
    if analysis.primary:
        return " ".join(_primary(finding) for finding in sorted(analysis.primary, key=_place))
    methods = [d for d in analysis.differences if names.group_of(d.comparison.candidate) == "method"]
    if not methods:
        return f"No fusion method other than {names.BASELINE} was run."
    return f"{'; '.join(_finding(d) for d in methods)}."


def _finding(difference: PairedDifference) -> str:
    """ "sft+uld scores 3.1 points above sft (95% interval +1.0 to +5.2)"; says if the interval holds zero."""
    estimate, name = difference.comparison.difference, difference.comparison.candidate
    found = f"{percent(estimate.value, True)} points, 95% interval {interval(estimate, True)}"
    if estimate.low <= 0 <= estimate.high:
        return f"{name} cannot be told apart from {names.BASELINE} ({found})"
    return f"{name} scores {'above' if estimate.low > 0 else 'below'} {names.BASELINE} ({found})"


def _place(finding: Finding) -> tuple[bool, bool, float]:
    """Where the sentence of a primary comparison stands: gains first, then losses, the largest difference first."""
    estimate = finding.difference.comparison.difference
    return estimate.low <= 0, estimate.high >= 0, -abs(estimate.value)


def _primary(finding: Finding) -> str:
    """One sentence about a primary comparison: its direction, its size, and how sure it is."""
    comparison = finding.difference.comparison
    estimate, candidate, baseline = comparison.difference, comparison.candidate, comparison.baseline
    sure = "" if comparison.p is None else f", p = {comparison.p:.2g} after correction"
    size = f"{percent(estimate.value, True)} points, 95% interval {interval(estimate, True)}{sure}"
    if estimate.low == estimate.high == 0:
        return f"{candidate} gives the same answers as {baseline}: the tuning chose the weight 0 for its own term."
    if estimate.low > 0:
        carried = "carried knowledge over" if baseline == names.BASELINE else f"added something to {baseline}"
        return f"{candidate} {carried}: it scores above {baseline} ({size})."
    if estimate.high < 0:
        return f"{candidate} did harm: it scores below {baseline} ({size})."
    found = (
        "" if finding.detectable is None else f"; differences of {percent(finding.detectable)} points would be found"
    )
    return f"Whether {candidate} differs from {baseline} is not decided ({size}{found})."


def basis(analysis: Analysis) -> str:
    """What the numbers of `answer` are, and what the number of seeds allows to claim."""
    if not analysis.gate.passes:
        return significance(analysis.tested)
    return (
        f"{names.BASELINE} is plain fine-tuning. Each number is a difference of mean chance-corrected scores over "
        f"{len(analysis.kept)} families. {significance(analysis.tested)}"
    )


def gate_sentences(analysis: Analysis) -> list[str]:
    """The verdict of the world gate, and what it is based on, sentence by sentence."""
    gate = analysis.gate
    sentences = [f"{gate.verdict[0].upper()}{gate.verdict[1:]} between good and bad methods."]
    sentences += [f"{reason[0].upper()}{reason[1:]}." for reason in gate.reasons]
    if len(gate.worlds) > 1 and gate.passes and gate.reasons:
        sentences.append("Methods are compared in the worlds that pass. The tables show the other worlds too.")
    return sentences
