"""The gate judges B against a margin, and results that were made differently are refused unless that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gldbench import cli
from gldbench.compare.across import ACROSS
from gldbench.compare.comparison import compare
from gldbench.compare.gate import gate
from gldfusion.errors import InputError

from .test_compare import write

SETTINGS = {
    "decoding": "greedy",
    "max_tokens": 1024,
    "stop": ["\nQ:"],
    "chat_template": "abc",
    "backend": "hf",
    "dtype": "auto",
    "tensor_parallel": 1,
}


def scores(right: int, n: int = 1000, seed: int = 0) -> list[float]:
    """`right` of `n` items are right; which ones depends on the seed."""
    order = np.random.default_rng(seed).permutation(n)
    return [float(place < right) for place in order]


def verdict(folder: Path, a: list[float], b: list[float], margin: float) -> str:
    first, second = write(folder / "a", "gsm8k", a), write(folder / "b", "gsm8k", b)
    return gate(compare(first, second), margin).overall.verdict


@pytest.mark.parametrize(
    ("right", "margin", "expected"),
    [
        (700, 0.05, "PASS"),  # equal scores
        (900, 0.0, "PASS"),  # better
        (500, 0.05, "WORSE"),
        (680, 0.02, "INCONCLUSIVE"),  # exactly the margin
        (670, 0.0, "INCONCLUSIVE"),
    ],
)
def test_the_interval_decides(tmp_path: Path, right: int, margin: float, expected: str) -> None:
    assert verdict(tmp_path, scores(700), scores(right, seed=1), margin) == expected


def test_the_same_rows_pass_any_margin_that_the_items_can_show(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", "gsm8k", scores(700)), write(tmp_path / "b", "gsm8k", scores(700))
    judged = gate(compare(a, b), 0.01)
    assert judged.overall.verdict == "PASS"
    few_a, few_b = write(tmp_path / "c", "gsm8k", [1.0] * 20), write(tmp_path / "d", "gsm8k", [1.0] * 20)
    few = gate(compare(few_a, few_b), 0.01)
    assert few.overall.verdict == "INCONCLUSIVE", "twenty equal answers do not show a difference below one point"
    assert few.overall.detectable > 0.1


def test_the_smallest_visible_difference_is_visible_in_four_of_five_cases(tmp_path: Path) -> None:
    n, rng = 400, np.random.default_rng(5)
    a = (rng.random(n) < 0.6).astype(float)
    b = np.where(rng.random(n) < 0.8, a, 1 - a)
    path_a, path_b = write(tmp_path / "a", "gsm8k", list(a)), write(tmp_path / "b", "gsm8k", list(b))
    detectable = gate(compare(path_a, path_b), 0.0).overall.detectable
    # simulate pairs with the same share of disagreeing items and exactly this difference
    share = float(np.mean(a != b))
    up = (share + detectable) / 2
    draws = rng.multinomial(n, [up, share - up, 1 - share], size=4000)
    mean = (draws[:, 0] - draws[:, 1]) / n
    se = np.sqrt((draws[:, 0] + draws[:, 1]) / n - mean**2) / np.sqrt(n)
    assert np.mean(mean - 1.96 * se > 0) == pytest.approx(0.8, abs=0.05)


def test_the_items_for_the_margin_would_show_it(tmp_path: Path) -> None:
    path_a, path_b = write(tmp_path / "a", "gsm8k", scores(700)), write(tmp_path / "b", "gsm8k", scores(690, seed=1))
    one = gate(compare(path_a, path_b), 0.02).overall
    assert one.items_needed == pytest.approx(1000 * (one.detectable / 0.02) ** 2, abs=1)
    assert gate(compare(path_a, path_b), 0.0).overall.items_needed is None


def test_one_task_that_sinks_fails_the_gate(tmp_path: Path) -> None:
    for folder, sunk in (("a", 800), ("b", 400)):
        write(tmp_path / folder, "gsm8k", scores(sunk))
        write(tmp_path / folder, "math500", scores(400 if folder == "a" else 900, seed=2))
    judged = gate(compare(str(tmp_path / "a"), str(tmp_path / "b")), 0.02)
    assert judged.overall.difference.value > 0
    assert {own.name: own.verdict for own in judged.tasks} == {"gsm8k": "WORSE", "math500": "PASS"}
    assert (judged.overall.verdict, judged.sunk) == ("WORSE", ["gsm8k"])


@pytest.mark.parametrize(("margin", "told"), [(2.0, "for 2 points write 0.02"), (-0.1, "at least 0")])
def test_a_margin_in_points_is_refused(tmp_path: Path, margin: float, told: str) -> None:
    a = write(tmp_path / "a", "gsm8k", scores(700))
    with pytest.raises(InputError, match=told):
        gate(compare(a, a), margin)


@pytest.mark.parametrize(("right", "code"), [(700, 0), (400, 1), (690, 3)])
def test_exit_codes(tmp_path: Path, right: int, code: int) -> None:
    a, b = write(tmp_path / "a", "gsm8k", scores(700)), write(tmp_path / "b", "gsm8k", scores(right, seed=1))
    ended = CliRunner().invoke(cli.app, ["compare", a, b, "--gate", "0.01" if code else "0.1", "--json"])
    assert ended.exit_code == code, ended.output
    found = json.loads(ended.output)["gate"]
    assert found["verdict"] == {0: "PASS", 1: "WORSE", 3: "INCONCLUSIVE"}[code]
    shown = CliRunner().invoke(cli.app, ["compare", a, b, "--gate", "0.01" if code else "0.1"])
    assert shown.output.strip().endswith(f"gate: {found['verdict']}")


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("generation", {"max_tokens": 512}),
        ("generation", {"dtype": "float16"}),
        ("generation", {"tensor_parallel": 2}),
        ("generation", {"backend": "vllm"}),
        ("stop", {"stop": []}),
        ("chat_template", {"chat_template": None}),
    ],
)
def test_other_settings_are_refused_unless_named(tmp_path: Path, name: str, changed: dict[str, Any]) -> None:
    a = write(tmp_path / "a", "gsm8k", scores(700), settings=json.dumps(SETTINGS))
    b = write(tmp_path / "b", "gsm8k", scores(700), settings=json.dumps(SETTINGS | changed))
    with pytest.raises(InputError, match=f"{next(iter(changed))} is .* in A and .* in B[\\s\\S]*--across {name}"):
        compare(a, b)
    with pytest.raises(InputError, match="--across"):
        compare(a, b, across=[other for other in ACROSS if other != name])
    (note,) = compare(a, b, across=[name]).notes
    assert next(iter(changed)) in note


def test_results_that_do_not_say_how_they_were_made_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", scores(700), settings=json.dumps(SETTINGS))
    b = write(tmp_path / "b", "gsm8k", scores(700))
    with pytest.raises(InputError, match=r"not recorded in B[\s\S]*generates nothing"):
        compare(a, b)
    assert len(compare(a, b, across=["generation", "stop", "chat_template"]).notes) == 7


def test_other_graders_are_refused_unless_named(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", scores(700), grader_version="2")
    b = write(tmp_path / "b", "gsm8k", scores(700), grader_version="3")
    with pytest.raises(InputError, match="generates nothing"):
        compare(a, b)
    assert len(compare(a, b, across=["grader"]).notes) == 1


def test_an_unknown_difference_is_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", scores(700))
    with pytest.raises(InputError, match='did you mean "stop"'):
        compare(a, a, across=["stops"])
