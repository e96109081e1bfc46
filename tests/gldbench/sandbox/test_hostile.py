"""Hostile programs score 0 with both code graders and leave the host unchanged. The programs are in hostile/."""

from __future__ import annotations

import importlib.util

import pytest

from gldbench import sandbox
from tests.gldbench.sandbox.hostile_programs import ENDS, PROGRAMS, Attack, attack

NAMES = [program.name for program in PROGRAMS]


@pytest.fixture(scope="module")
def attacks() -> dict[str, Attack]:
    """Attacks that were made already, by grader."""
    return {}


@pytest.fixture(params=["ours", pytest.param("evalplus", marks=pytest.mark.slow)])
def made(
    request: pytest.FixtureRequest, attacks: dict[str, Attack], tmp_path_factory: pytest.TempPathFactory
) -> Attack:
    """What happened when one grader got all programs."""
    if reason := sandbox.trouble():
        pytest.skip(f"no sandbox: {reason}")
    grader = request.param
    if grader == "evalplus" and importlib.util.find_spec("evalplus") is None:
        pytest.skip("evalplus is not installed")
    if grader not in attacks:
        attacks[grader] = attack(grader, tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("scratch"))
    return attacks[grader]


@pytest.fixture
def ours(attacks: dict[str, Attack], tmp_path_factory: pytest.TempPathFactory) -> Attack:
    """What happened when our own grader got all programs."""
    if reason := sandbox.trouble():
        pytest.skip(f"no sandbox: {reason}")
    if "ours" not in attacks:
        attacks["ours"] = attack("ours", tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("scratch"))
    return attacks["ours"]


def test_there_are_enough() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 60


def test_none_counts_as_right(made: Attack) -> None:
    assert {name for name, own in made.judged.items() if own.right or own.right_base} == set(ENDS)
    assert len(made.judged) == len(PROGRAMS) + len(ENDS)


def test_the_host_is_as_it_was(made: Attack) -> None:
    assert made.after == made.before
    assert made.connections == []
    assert made.alive
    assert made.left == set()
    assert made.failures() == []


@pytest.mark.parametrize("name", [program.name for program in PROGRAMS if program.uses_package])
def test_an_attack_through_a_package_gets_as_far_as_the_package(ours: Attack, name: str) -> None:
    if len(sandbox.offered()) < 4:
        pytest.skip(f"not all packages are installed: {', '.join(sandbox.offered()) or 'none is'}")
    assert "module:" not in ours.judged[name].reason
    assert "defining" not in ours.judged[name].reason


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("endless_loop", "timeout", "processor time"),
        ("deaf_loop", "timeout", "processor time"),
        ("sleeper", "timeout", "ran for more than"),
        ("stopped", "timeout", "ran for more than"),
        ("trickle", "timeout", "ran for more than"),
        ("memory_bomb", "error", "MemoryError"),
        ("huge_output", "error", "returned more than"),
        ("flooded_results", "error", "returned more than"),
        ("exit_at_import", "error", "ended before it answered"),
        ("fork_bomb", "error", "BlockingIOError"),
        ("threads", "error", "RuntimeError"),
        ("segments", "ok", "4 of 4 tests fail"),
        ("numpy_memory", "error", "MemoryError"),
        ("numpy_threads", "timeout", "processor time"),
        ("deep_tuple", "error", "nested more than 100 levels"),
        ("nested_iterators", "error", "nested more than 100 levels"),
        ("written_tuple", "error", "nested more than 100 levels"),
        ("written_iterators", "error", "nested more than 100 levels"),
        ("written_flood", "error", "no plain value"),
        ("written_keys", "error", "no plain value"),
        ("forged_verdict", "error", "no plain value"),
        ("new_calls", "ok", "4 of 4 tests fail"),
        ("stand_in", "ok", "4 of 4 tests fail"),
    ],
)
def test_what_stopped_it_is_named(ours: Attack, name: str, status: str, words: str) -> None:
    assert ours.judged[name].status == status
    assert words in ours.judged[name].reason
