"""Guards against regression: `GUARDS`. `gldbench check` compares each of them with its baseline.

The guards of losses, kernels and graders compare values. The guard of the Gromov-Wasserstein solvers also compares
speeds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gldbench.guards import values
from gldbench.guards.baseline import CheckResult, Values, check_values

ROUNDING = 1e-12
"""absolute tolerance for float64 values of order one"""


def baselines_folder() -> Path:
    """The folder of the shipped baselines: package data in an installed wheel, reports/baselines in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_baselines"
    return installed if installed.is_dir() else package.parent / "reports" / "baselines"


def _check_gw(baseline: Path, update: bool) -> CheckResult:
    from gldbench.guards.gw import check_gw

    return check_gw(baseline, update)


def _of_values(make: Callable[[], Values]) -> Callable[[Path, bool], CheckResult]:
    return lambda baseline, update: check_values(make(), baseline, update, ROUNDING)


GUARDS: dict[str, Callable[[Path, bool], CheckResult]] = {
    "gw": _check_gw,
    "losses": _of_values(values.loss_values),
    "kernels": _of_values(values.kernel_values),
    "graders": _of_values(values.grader_values),
}
"""by name: (baseline file, update) -> result. The baseline file is <name>.json in the folder of baselines"""
