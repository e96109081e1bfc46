"""In CI a skipped test fails, unless its reason is listed here. Elsewhere the last line says what was not tested."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)  # the same examples every time; elsewhere new ones
if os.environ.get("CI"):
    settings.load_profile("ci")

ALLOWED_SKIPS = (
    "benchmark data not found",  # a clone has none: set GLDBENCH_DATA to check against the real files
    "no CUDA device",
    "OTT-JAX is not installed",
    "bitsandbytes is not installed",
    "ray is not installed",
    "torchao is not installed",
    "evalplus is not installed",
    "inspect-ai is not installed",
    "mergekit is not installed",
    "triton is not installed",
    "OpenCompass is not set up",  # `make test-opencompass` sets it up, in its own environment
)

NO_SANDBOX = "no sandbox:"
"""no bubblewrap, or a kernel that gives ordinary users no namespaces. Never allowed in CI: it would test no sandbox"""

_unlisted: list[str] = []
_without_sandbox: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests that need OpenCompass, unless `-m` names them: `make test-opencompass` sets it up first."""
    if "opencompass" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("opencompass")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _no_opencompass_of_the_user(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Other tests give the same results, whether the user has set up OpenCompass or not."""
    if request.node.get_closest_marker("opencompass") is None:
        monkeypatch.setenv("GLDBENCH_OPENCOMPASS", str(tmp_path_factory.getbasetemp() / "not-set-up"))


@pytest.fixture(autouse=True)
def _no_tasks_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--tasks-dir` sets this variable for the process: it must not stay set after the test."""
    monkeypatch.setenv("GLDBENCH_TASKS", "")


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if NO_SANDBOX in reason:
        _without_sandbox.append(reason.partition(NO_SANDBOX)[2].strip())
    if os.environ.get("CI") and not any(allowed in reason for allowed in ALLOWED_SKIPS):
        _unlisted.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _unlisted and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _unlisted:
        terminalreporter.write_line(f"skipped for a reason that tests/conftest.py does not list: {line}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Prints the last line of a run that tested no sandbox, after pytest's own last line."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if _without_sandbox and terminal is not None and not hasattr(config, "workerinput"):
        terminal.write_line(
            f"{len(_without_sandbox)} tests were skipped because there is no sandbox ({_without_sandbox[0]}); "
            "`sudo make system` installs what is missing",
            yellow=True,
        )
