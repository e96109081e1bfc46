"""`gldbench compare` uses the same items and the right rows, and refuses rows that must not be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gldbench import stats
from gldbench.commands.compare import HEADER, as_json, table
from gldbench.compare.comparison import compare
from gldbench.compare.read import read_side
from gldbench.schema import Row
from gldbench.store import Store
from gldbench.tasks import load_task
from gldfusion.errors import InputError

Scores = Mapping[str, float | None]


def write(
    folder: Path,
    task_name: str,
    scores: Scores | Sequence[float],
    subject: str = "m@1",
    clusters: Sequence[str] = (),
    **changes: Any,
) -> str:
    """Stores headline rows, and rows of another grader with the opposite scores, which no comparison may read."""
    task = load_task(task_name)
    headline = task.headline
    if not isinstance(scores, Mapping):
        scores = {str(i): value for i, value in enumerate(scores)}
    rows = []
    for grader, filter_name in ((headline.grader, headline.filter), ("other", headline.filter), (headline.grader, "x")):
        for place, (item, value) in enumerate(scores.items()):
            fields: dict[str, Any] = {
                "run_id": folder.name,
                "env_id": "here",
                "suite": "eval",
                "task": task_name,
                "task_version": task.version,
                "variant": "default",
                "subject": subject,
                "method": "checkpoint",
                "world_seed": 0,
                "seed": 0,
                "item": item,
                "cluster": clusters[place] if clusters else item,
                "grader": grader,
                "filter": filter_name,
                "metric": headline.metric,
                "value": value
                if value is None or (grader, filter_name) == (headline.grader, headline.filter)
                else 1 - value,
                "unit": "fraction",
                "status": "ok",
                "reason": "",
            }
            rows.append(Row(**(fields | changes)))
    Store(folder).append_rows(rows, unit=f"{subject}-{task_name}-{sorted(changes.items())}-{len(rows)}")
    return str(folder)


def coins(seed: int, n: int, p: float) -> list[float]:
    return (np.random.default_rng(seed).random(n) < p).astype(float).tolist()


def test_two_folders_on_the_same_items(tmp_path: Path) -> None:
    first, second = coins(0, 80, 0.4), coins(1, 80, 0.7)
    a, b = write(tmp_path / "a", "gsm8k", first), write(tmp_path / "b", "gsm8k", second)
    document = as_json(compare(a, b))
    assert (document["a"], document["b"]) == (f"{a}:m@1", f"{b}:m@1")
    (task,) = document["tasks"]
    lost = sum(x > y for x, y in zip(first, second, strict=True))
    won = sum(x < y for x, y in zip(first, second, strict=True))
    assert (task["task"], task["metric"], task["n"]) == ("gsm8k", load_task("gsm8k").headline.metric, 80)
    assert (task["a"], task["b"]) == pytest.approx((np.mean(first), np.mean(second)))
    assert task["difference"] == pytest.approx((won - lost) / 80)
    assert task["low"] < task["difference"] < task["high"]
    assert (task["test"], task["n_discordant"]) == ("exact McNemar", won + lost)
    assert task["p"] == task["p_holm"] == stats.mcnemar_p(lost, won)
    assert document["macro"]["difference"] == pytest.approx(task["difference"])
    assert document["macro"]["tasks"] == ["gsm8k"]
    assert document["notes"] == []
    json.dumps(document, allow_nan=False)


def test_the_other_way_round_is_the_mirror(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", "gsm8k", coins(0, 40, 0.4)), write(tmp_path / "b", "gsm8k", coins(1, 40, 0.7))
    (there,), (back,) = as_json(compare(a, b))["tasks"], as_json(compare(b, a))["tasks"]
    assert back["difference"] == -there["difference"]
    assert (back["low"], back["high"]) == pytest.approx((-there["high"], -there["low"]), abs=0.02)
    assert back["p"] == there["p"]


def test_a_checkpoint_and_itself(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", coins(0, 40, 0.4))
    (task,) = as_json(compare(a, a))["tasks"]
    assert (task["difference"], task["p"], task["n_discordant"]) == (0, 1, 0)
    assert task["low"] < 0 < task["high"]


def test_several_tasks_holm_and_the_mean_over_them(tmp_path: Path) -> None:
    clusters = ["navigate"] * 30 + ["snarks"] * 10
    for side, p in (("a", 0.3), ("b", 0.6)):
        write(tmp_path / side, "gsm8k", coins(ord(side), 60, p))
        write(tmp_path / side, "bbh", coins(ord(side) + 9, 40, p), clusters=clusters)
        write(tmp_path / side, "bbh/navigate", coins(ord(side) + 5, 30, p), clusters=["navigate"] * 30)
    result = compare(str(tmp_path / "a"), str(tmp_path / "b"))
    document = as_json(result)
    tasks = {task["task"]: task for task in document["tasks"]}
    assert list(tasks) == ["gsm8k", "bbh", "bbh/navigate"]
    assert [task["p_holm"] for task in tasks.values()] == pytest.approx(stats.holm([t["p"] for t in tasks.values()]))
    bbh, macro = tasks["bbh"], document["macro"]
    assert (bbh["clusters"], bbh["test"]) == (2, "exact McNemar")
    assert bbh["p_clustered"] is not None
    scores = np.array(coins(ord("b") + 9, 40, 0.6))
    assert bbh["by_subtask"]["b"] == pytest.approx((scores[:30].mean() + scores[30:].mean()) / 2)
    assert macro["tasks"] == ["gsm8k", "bbh"]
    for key in ("a", "b", "difference"):
        assert macro[key] == pytest.approx((tasks["gsm8k"][key] + bbh["by_subtask"][key]) / 2)
    assert macro["low"] < macro["difference"] < macro["high"]
    assert tasks["bbh/navigate"]["clusters"] is None
    lines = table(result)
    assert [line[0] for line in lines[1:]] == [
        "gsm8k",
        "bbh",
        "bbh, mean of subtasks",
        "bbh/navigate",
        "mean of 2 tasks",
    ]
    assert {len(line) for line in lines} == {len(HEADER)}


def test_only_the_items_that_both_have(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", {"0": 1.0, "1": 0.0, "2": 1.0, "3": None})
    b = write(tmp_path / "b", "gsm8k", {"3": 1.0, "2": 0.0, "1": 1.0, "9": 1.0})
    result = compare(a, b)
    (task,) = as_json(result)["tasks"]
    assert (task["n"], task["a"], task["b"], task["only_a"], task["only_b"]) == (2, 0.5, 0.5, 1, 2)
    assert result.notes == ["gsm8k: 1 items have a score only in A, 2 only in B"]
    c = write(tmp_path / "c", "gsm8k", {"77": 1.0})
    with pytest.raises(InputError, match="no item has a score in both"):
        compare(a, c)


def test_tasks_of_one_side_only(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", coins(0, 9, 0.5))
    write(tmp_path / "a", "bbh", coins(0, 9, 0.5))
    b = write(tmp_path / "b", "gsm8k", coins(1, 9, 0.5))
    assert compare(a, b).notes == ["only A was asked bbh"]
    with pytest.raises(InputError, match='no rows of task "bbh"'):
        compare(a, b, ["bbh"])
    with pytest.raises(InputError, match='did you mean "gsm8k"'):
        compare(a, b, ["gsm8"])
    c = write(tmp_path / "c", "bbh", coins(1, 9, 0.5))
    with pytest.raises(InputError, match="no task in common"):
        compare(b, c)


def test_other_environments_are_refused_unless_asked_for(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", coins(0, 9, 0.5))
    b = write(tmp_path / "b", "gsm8k", coins(1, 9, 0.5), env_id="there")
    with pytest.raises(InputError, match=r"environments \(here, there\)[\s\S]*--across-environments"):
        compare(a, b)
    assert compare(a, b, across_environments=True).notes == ["the scores are from different environments: here, there"]


def test_other_versions_are_refused_unless_asked_for(tmp_path: Path) -> None:
    version = load_task("gsm8k").version
    a = write(tmp_path / "a", "gsm8k", coins(0, 9, 0.5))
    b = write(tmp_path / "b", "gsm8k", coins(1, 9, 0.5), task_version=version + 1)
    with pytest.raises(
        InputError, match=f"version {version}, those of B of version {version + 1} [\\s\\S]*--across-versions"
    ):
        compare(a, b)
    assert "is compared with version" in compare(a, b, across_versions=True).notes[0]
    # evaluated again since: the newer rows count
    write(tmp_path / "a", "gsm8k", [1.0] * 9, task_version=version + 1)
    assert compare(a, b).tasks[0].paired.first == 1.0


def test_other_prompts_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", [1.0] * 9)
    b = write(tmp_path / "b", "gsm8k", [0.0] * 9, variant="cot_zeroshot")
    with pytest.raises(InputError, match="prompt variants default, B was asked cot_zeroshot"):
        compare(a, b)
    write(tmp_path / "a", "gsm8k", [0.0] * 9, variant="cot_zeroshot")
    assert compare(a, b).tasks[0].paired.first == 0.0
    write(tmp_path / "b", "gsm8k", [1.0] * 9)
    assert compare(a, b).tasks[0].paired.second == 1.0
    assert compare(a, b, variant="cot_zeroshot").tasks[0].paired.second == 0.0
    with pytest.raises(InputError, match="with --variant"):
        compare(a, b, variant="five_shot")


def test_one_folder_with_several_checkpoints(tmp_path: Path) -> None:
    folder = write(tmp_path / "out:1", "gsm8k", [1.0, 1.0, 0.0], subject="good@12ab")
    write(tmp_path / "out:1", "gsm8k", [0.0, 0.0, 0.0], subject="bad@34cd")
    result = compare(f"{folder}:bad", f"{folder}:good@12ab")
    assert (result.a.subject, result.b.subject) == ("bad@34cd", "good@12ab")
    assert result.tasks[0].paired.second == pytest.approx(2 / 3)
    with pytest.raises(InputError, match=r"holds 2 checkpoints\nname one of"):
        read_side(folder)
    with pytest.raises(InputError, match="no checkpoint goood"):
        read_side(f"{folder}:goood")
    write(tmp_path / "out:1", "gsm8k", [0.0], subject="bad@56ef")
    with pytest.raises(InputError, match="2 checkpoint"):
        read_side(f"{folder}:bad")


def test_folders_without_rows_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder .*nowhere"):
        read_side(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="holds no rows"):
        read_side(str(tmp_path))


def test_a_headline_that_moved_since_and_a_doubled_item(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "gsm8k", [1.0, 0.0])
    b = write(tmp_path / "b", "gsm8k", [1.0, 0.0], metric="old_metric")
    with pytest.raises(InputError, match="grades the stored responses again"):
        compare(a, b)
    c = write(tmp_path / "c", "gsm8k", [1.0, 0.0])
    write(tmp_path / "c", "gsm8k", [0.0, 0.0], run_id="again")
    with pytest.raises(InputError, match="item 0 has two scores"):
        compare(a, c)


def test_comparing_needs_no_torch() -> None:
    code = (
        "import sys, gldbench.commands.compare, gldbench.compare.comparison; "
        "print([m for m in ('torch', 'transformers', 'lm_eval') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
