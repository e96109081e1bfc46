"""The report in short: a table for the terminal, and a dictionary for `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gldbench.report import names
from gldbench.report.analysis import Analysis
from gldbench.report.comparing import Finding
from gldbench.report.gate import WorldGate
from gldbench.report.method_scores import MethodScore
from gldbench.report.tables import NONE
from gldbench.report.training import Training
from gldbench.report.words import FIXED, dropped, interval, order, percent, significance
from gldbench.schema import Environment
from gldbench.stats import PairedDifference


def summary_table(analysis: Analysis) -> dict[str, Any]:
    """The main table for the terminal.

    Returns:
        "title"; "columns"; "rows", a list of texts each; "groups", the heading of each row; "notes", sentences.
    """
    differences = {d.comparison.candidate: d.comparison.difference for d in analysis.differences}
    rows = []
    for score in analysis.scores:
        mean, difference = score.mean.corrected, differences.get(score.method)
        compared = [NONE, NONE] if difference is None else [percent(difference.value, True), interval(difference, True)]
        rows.append(
            [names.label_of(score.method), str(len(score.seeds)), percent(mean.value), interval(mean), *compared]
        )
    families = f"mean over {len(analysis.averaged)} families"
    return {
        "title": f"{analysis.run_id}, {analysis.variant} set: chance-corrected exact match in percent, {families}",
        "columns": ["method", "seeds", "mean", "95% interval", f"minus {names.BASELINE}", "95% interval"],
        "rows": rows,
        "groups": [names.GROUPS[names.group_of(score.method)] for score in analysis.scores],
        "notes": [
            FIXED["chance_corrected"],
            order(analysis),
            _gate(analysis),
            dropped(analysis),
            significance(analysis),
        ],
    }


def summary_json(analysis: Analysis, trained: Sequence[Training], environment: Environment) -> dict[str, Any]:
    """All numbers of the report as JSON types. Scores are shares in [0, 1], not percent."""
    gate = analysis.gate
    return {
        "run_id": analysis.run_id,
        "set": analysis.variant,
        "worlds": list(analysis.worlds),
        "gate": {
            "verdict": gate.verdict,
            "passes": gate.passes,
            "reasons": list(gate.reasons),
            "worlds": [_world_gate(world) for world in gate.worlds],
        },
        "ranked": gate.passes,
        "tuned": analysis.tuned,
        "tuned_weights": analysis.weights,
        "fixed_weights": list(analysis.fixed_weights),
        "families": {"kept": list(analysis.kept), "dropped": list(analysis.dropped), "chance": analysis.chance},
        "checks": [asdict(check) for check in analysis.checks],
        "methods": [_score(score) for score in analysis.scores],
        "harder": [_score(score) for score in analysis.harder],
        "differences": [_difference(difference) for difference in analysis.differences],
        "control_differences": [_difference(difference) for difference in analysis.control_differences],
        "added_differences": [_difference(difference) for difference in analysis.added_differences],
        "equal_flops": [_difference(difference) for difference in analysis.equal_flops],
        "primary": [_finding(finding) for finding in analysis.primary],
        "primary_in_all_worlds": [_difference(difference) for difference in analysis.primary_everywhere],
        "differences_by_world": {w: [_difference(d) for d in found] for w, found in analysis.by_world.items()},
        "differences_by_family": {f: [_difference(d) for d in found] for f, found in analysis.by_family.items()},
        "ranks": None if analysis.ranks is None else asdict(analysis.ranks),
        "deviations": asdict(analysis.variances),
        "significance": significance(analysis),
        "answers": {method: {s: list(n) for s, n in counts.items()} for method, counts in analysis.statuses.items()},
        "left_out": {"items": analysis.left_out, "subjects": list(analysis.incomplete)},
        "training": [asdict(training) for training in trained],
        "environment": asdict(environment),
    }


def _gate(analysis: Analysis) -> str:
    """The verdict of the world gate, with the reasons of a failure."""
    reasons = "; ".join(analysis.gate.reasons)
    return f"World gate: {analysis.gate.verdict} between good and bad methods{f' ({reasons})' if reasons else ''}."


def _score(score: MethodScore) -> dict[str, Any]:
    return asdict(score) | {"seeds": list(score.seeds), "group": names.group_of(score.method)}


def _finding(finding: Finding) -> dict[str, Any]:
    found = _difference(finding.difference) or {}
    return found | {"effect_size": finding.effect, "smallest_detectable": finding.detectable}


def _world_gate(world: WorldGate) -> dict[str, Any]:
    controls = [
        {"role": c.role, "method": c.method, "difference": _difference(c.difference), "reason": c.reason}
        for c in world.controls
    ]
    return {"world": world.world, "passes": world.passes, "controls": controls}


def _difference(difference: PairedDifference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    design = {"n_seeds": difference.n_seeds, "n_items": difference.n_items, "reason": difference.reason}
    return asdict(difference.comparison) | design
