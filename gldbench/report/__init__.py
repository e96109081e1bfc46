"""The report of a run: a pure function of its rows, its spec and its environment."""

from gldbench.report.analysis import Analysis, analyse
from gldbench.report.page import ReportPaths, Run, build_report, read_run, write_report
from gldbench.report.summary import summary_json, summary_table
from gldbench.report.training import Training, trainings

__all__ = [
    "Analysis",
    "ReportPaths",
    "Run",
    "Training",
    "analyse",
    "build_report",
    "read_run",
    "summary_json",
    "summary_table",
    "trainings",
    "write_report",
]
