"""All tables of the report. `score_tables` makes them from scores, `run_tables` from training logs and the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gldbench.report.analysis import Analysis
from gldbench.report.tables import run_tables, score_tables
from gldbench.report.tables.table import NONE, Cell, Line, Table
from gldbench.report.training import Training
from gldbench.schema import Environment

__all__ = ["NONE", "Cell", "Line", "Table", "all_tables"]


def all_tables(
    analysis: Analysis, trained: Sequence[Training], spec: Mapping[str, Any], environment: Environment
) -> dict[str, Table]:
    """All tables by name. The tables of the harder test are absent if it was not run."""
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
        score_tables.gate_table(analysis),
        score_tables.checks_table(analysis),
        score_tables.differences_table("differences", analysis.differences),
        score_tables.differences_table("control-differences", analysis.control_differences),
        score_tables.statuses_table(analysis),
        run_tables.training_table(trained),
        run_tables.coverage_table(trained),
        run_tables.cost_table(trained, environment),
        run_tables.provenance_table(analysis.run_id, spec, environment, trained),
    ]
    return {table.name: table for table in tables}
