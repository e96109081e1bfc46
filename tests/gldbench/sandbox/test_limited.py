"""Candidates in a limited process: their answers come back, and bad ones are stopped with a reason."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gldbench.sandbox.limited import MAX_OUTPUT, MAX_SOURCE, Candidate, Outcome, run_candidate, run_many


def outcome(source: str, timeout: float = 2.0, **options: int) -> Outcome:
    return run_candidate(source, "f", [3], timeout, **options)[0]


@pytest.mark.parametrize(
    "source",
    [
        "lambda x: x + 1",
        "(lambda x: x + 1)",
        "def f(x): return x + 1",
        "def f(x):\n  y = x\n  return y + 1",
        "# next\ndef f(x): return x + 1",
    ],
)
def test_values_come_back_in_order(source: str) -> None:
    assert run_candidate(source, "f", [1, 5, 2]) == [Outcome("ok", 2), Outcome("ok", 6), Outcome("ok", 3)]


def test_json_values_keep_their_types() -> None:
    values = [[1, [2]], "ü\n", {"a": None}, True, 1.5]
    assert [o.value for o in run_candidate("lambda x: x", "f", values)] == values
    assert run_candidate("lambda x: (1, x)", "f", [2])[0].value == [1, 2]


def test_one_failing_call_leaves_the_others() -> None:
    outcomes = run_candidate("lambda x: 6 // x", "f", [1, 0, 2])
    assert [o.status for o in outcomes] == ["ok", "error", "ok"]
    assert "ZeroDivisionError" in outcomes[1].reason


def test_a_call_does_not_see_the_changes_of_another() -> None:
    shared = [1]
    assert [o.value for o in run_candidate("lambda x: x.append(2) or x", "f", [shared, shared])] == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("lambda x", "does not parse"),
        ("", "not one expression"),
        ("(" * 500, "does not parse"),
        ("lambda x: '\0'", "does not parse"),
        ("-" * 3000 + "1", "does not parse"),
        ("import os", "not one expression"),
        ("x = 1", "not one expression"),
        ("def f(x): return 1\nf(2)", "not one expression"),
        ("class f: pass", "not one expression"),
        ("def g(x): return 1", 'defines "g", not "f"'),
        ("1" * (MAX_SOURCE + 1), "longer than"),
    ],
)
def test_refused_without_a_process(source: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", None)  # a process that was started after all would raise
    outcomes = run_candidate(source, "f", [1, 2])
    assert [o.status for o in outcomes] == ["error", "error"]
    assert reason in outcomes[0].reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("1 // 0", "defining the candidate raised ZeroDivisionError"),
        ("3", "raised TypeError"),
        ("lambda x: undefined", "raised NameError"),
        ("lambda x: exit()", "raised NameError"),  # -S: no site, no exit
        ("def f(x): raise SystemExit", "raised SystemExit"),
        ("def f(x): raise KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("def f(x): return f(x)", "raised RecursionError"),
        ("lambda x: {1}", "raised TypeError"),
        ("lambda x: float('nan')", "raised ValueError"),
        ("lambda x: 10 ** 6000", "raised ValueError"),
        ("lambda x: [0] * 10 ** 9", "raised MemoryError"),
        ("lambda x: __import__('os')._exit(0)", "ended before it answered"),
        ("lambda x: __import__('os').abort()", "ended before it answered"),
        ("lambda x: __import__('os').close(3)", "ended before it answered"),
        (f"lambda x: 'a' * {MAX_OUTPUT}", "returned more than"),
    ],
)
def test_errors_are_named(source: str, reason: str) -> None:
    got = outcome(source)
    assert got.status == "error"
    assert reason in got.reason


def test_time_is_bounded_and_earlier_answers_kept() -> None:
    started = time.monotonic()
    outcomes = run_candidate("def f(x):\n while x: pass\n return x", "f", [0, 1, 0], timeout=0.5)
    assert time.monotonic() - started < 5
    assert [o.status for o in outcomes] == ["ok", "timeout", "timeout"]


def test_memory_is_bounded_by_the_argument() -> None:
    source = "lambda x: len(bytearray(100 * 2**20))"
    assert outcome(source, memory_mb=512).status == "ok"
    assert "MemoryError" in outcome(source, memory_mb=64).reason


def test_output_that_never_ends_is_stopped() -> None:
    started = time.monotonic()
    got = outcome("def f(x):\n import os\n while True: os.write(3, b'x' * 4096)\n", timeout=5)
    assert got.status == "error"
    assert time.monotonic() - started < 4


def test_prints_do_not_disturb_the_results() -> None:
    assert outcome("def f(x):\n print('[\"ok\", 99]')\n return x") == Outcome("ok", 3)


def test_a_forged_result_is_only_a_result() -> None:
    """What the process writes is only data: text that is no result is an error, and surplus lines are ignored."""
    forged = run_candidate("lambda x: __import__('os').write(3, b'not json\\n' + b'[' * 9000 + b'\\n')", "f", [1, 2])
    assert [o.status for o in forged] == ["error", "error"]
    assert len(run_candidate("lambda x: __import__('os').write(3, b'[\"ok\", 1]\\n' * 9)", "f", [1])) == 1


def test_environment_folder_and_modules_are_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLDBENCH_SECRET", "x")
    assert "GLDBENCH_SECRET" not in outcome("lambda x: dict(__import__('os').environ)").value
    folder = Path(outcome("lambda x: __import__('os').getcwd()").value)
    assert folder != Path.cwd()
    assert not folder.exists()
    assert "ModuleNotFoundError" in outcome("lambda x: __import__('gldbench')").reason


def test_files_stay_empty(tmp_path: Path) -> None:
    target = tmp_path / "written"
    outcome(f"def f(x):\n with open({str(target)!r}, 'w') as file: file.write('a')\n")
    assert not target.exists() or target.stat().st_size == 0


def test_children_die_with_their_candidate(tmp_path: Path) -> None:
    """A child process is killed together with the candidate's process group. Only root can start one."""
    source = "def f(x):\n import os, time\n child = os.fork()\n if not child: time.sleep(60)\n return child"
    got = run_candidate(source, "f", [1])[0]
    if got.status == "ok":
        deadline = time.monotonic() + 5
        while _alive(got.value) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _alive(got.value)
    else:
        assert "BlockingIOError" in got.reason


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


def test_expected_values_never_enter_the_process() -> None:
    """A candidate finds nothing but its source, its inputs and its limits."""
    source = "lambda x: repr(__import__('sys')._getframe(1).f_globals['job'])"
    assert set(eval(outcome(source).value)) == {"source", "entry", "inputs", "limits"}


def test_many_candidates_keep_their_order() -> None:
    sources = [f"lambda x: x + {n}" for n in range(12)]
    sources[5] = "not python"
    results = run_many([Candidate(source, "f", (1,)) for source in sources], workers=3)
    assert [r[0].value for r in results] == [None if n == 5 else n + 1 for n in range(12)]
    assert results[5][0].status == "error"


def test_no_descriptor_leaks() -> None:
    run_candidate("lambda x: x", "f", [1])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run_candidate("lambda x: x", "f", [1])
    assert len(os.listdir("/proc/self/fd")) == before
