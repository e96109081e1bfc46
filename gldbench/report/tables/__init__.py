"""All tables of the report, made from scores and comparisons, from training logs, and from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.protocol.tuned import Tuning
from gldbench.report.analysis import Analysis
from gldbench.report.costs import costs
from gldbench.report.tables import comparison_tables, run_tables, score_tables
from gldbench.report.tables.table import NONE, Cell, Line, Table
from gldbench.report.training import Training
from gldbench.schema import Environment

__all__ = ["NONE", "Cell", "Line", "Table", "all_tables"]


def all_tables(
    analysis: Analysis,
    trained: Sequence[Training],
    spec: Mapping[str, Any],
    environment: Environment,
    tuning: Tuning | None = None,
) -> dict[str, Table]:
    """All tables by name. Tables of what the run did not do are absent, such as those of the harder test."""
    tables = [
        score_tables.scores_table(name, scores, analysis, corrected)
        for name, scores, corrected in (
            ("scores", analysis.scores, True),
            ("scores-raw", analysis.scores, False),
            ("harder", analysis.harder, True),
            ("harder-raw", analysis.harder, False),
        )
        if scores
    ]
    tables += [
        comparison_tables.gate_table(analysis),
        score_tables.checks_table(analysis),
        score_tables.differences_table("differences", analysis.differences),
        score_tables.differences_table("control-differences", analysis.control_differences),
        score_tables.differences_table("added-differences", analysis.added_differences),
        score_tables.differences_table("primary-everywhere", analysis.primary_everywhere),
        score_tables.statuses_table(analysis),
        run_tables.training_table(trained),
        run_tables.coverage_table(trained),
        run_tables.cost_table(trained, environment),
        run_tables.provenance_table(analysis.run_id, spec, environment, trained),
    ]
    if analysis.primary:
        tables.append(comparison_tables.primary_table(analysis.primary))
    if analysis.by_family:
        tables.append(comparison_tables.families_table(analysis))
    if analysis.by_world:
        tables.append(comparison_tables.worlds_table(analysis))
    if analysis.ranks is not None:
        tables.append(comparison_tables.ranks_table(analysis, analysis.ranks))
    if analysis.variances.both is not None:
        tables.append(comparison_tables.variances_table(analysis.variances))
    if found := costs(trained, spec, analysis.weights):
        tables.append(comparison_tables.costs_table(analysis, found))
    if analysis.equal_flops:
        tables.append(score_tables.differences_table("equal-flops", analysis.equal_flops))
    if tuning is not None:
        tables.append(comparison_tables.tuning_table(tuning))
    return {table.name: table for table in tables}
