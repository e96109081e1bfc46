"""The report of a run. It depends only on the rows, the spec and the environment of the run."""

from gldbench.report.analysis import Analysis, analyse
from gldbench.report.page import SUMMARY, ReportPaths, Run, read_run, write_report
from gldbench.report.summary import summary_json, summary_table
from gldbench.report.training import Training, trainings

__all__ = [
    "SUMMARY",
    "Analysis",
    "ReportPaths",
    "Run",
    "Training",
    "analyse",
    "read_run",
    "summary_json",
    "summary_table",
    "trainings",
    "write_report",
]
