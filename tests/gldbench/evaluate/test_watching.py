"""`gldbench fuse --tasks` scores the pivot while it is trained, and says so on standard error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gldbench.commands.fuse import fuse
from gldbench.evaluate.evaluate import evaluate
from gldbench.evaluate.watching import scorer
from gldbench.evaluate.world import training_rows
from gldbench.grade.rows import RowLabels
from gldfusion.errors import InputError
from tests.gldbench.evaluate.test_eval import COUNTING, toy

__all__ = ["toy"]
ChainMaker = Callable[..., Path]


def write_recipe(folder: Path, pivot: Path, every: int) -> Path:
    (folder / "train.jsonl").write_text(json.dumps({"prompt": "a 1", "response": "234"}) + "\n")
    train = {"steps": 3, "batch_size": 1, "learning_rate": 1e-30, "evaluate_every": every}
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"name": "watched", "pivot": str(pivot), "data": "train.jsonl", "train": train}))
    return recipe


def run(recipe: Path, output: Path, tasks: str | None, data: Path | None) -> None:
    fuse(recipe, output, tracker="none", tasks=tasks, data=str(data) if data else None, limit=6)


def test_the_pivot_is_scored_while_it_is_trained(
    toy: Path, chain: ChainMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pivot = chain(COUNTING)
    alone = evaluate([pivot], ["toy"], tmp_path / "data", 6, tmp_path / "alone").scores[0].score.value
    capsys.readouterr()
    run(write_recipe(tmp_path, pivot, every=2), tmp_path / "out", "toy", tmp_path / "data")
    log = [json.loads(line) for line in (tmp_path / "out" / "training_log.jsonl").read_text().splitlines()]
    assert [entry.get("validation") for entry in log] == [None, {"toy": alone}, {"toy": alone}]
    said = capsys.readouterr().err
    assert "\r" not in said
    assert re.search(rf"^step 2: validation toy {alone:.4g} \(the best so far\)$", said, re.MULTILINE)
    assert (tmp_path / "out" / "best" / "evaluation.json").is_file()
    rows = training_rows(tmp_path / "out", RowLabels(run_id="r", env_id="e", suite="s", subject="s", method="m"))
    assert {(row.item, row.value) for row in rows if row.metric == "validation/toy"} == {("2", alone), ("3", alone)}


def test_options_that_do_not_fit_are_refused(toy: Path, chain: ChainMaker, tmp_path: Path) -> None:
    pivot = chain(COUNTING)
    with pytest.raises(InputError, match=r"--tasks needs the files of the benchmarks\ngive --data"):
        run(write_recipe(tmp_path, pivot, every=1), tmp_path / "out", "toy", None)
    with pytest.raises(InputError, match=r"set train.evaluate_every"):
        run(write_recipe(tmp_path, pivot, every=0), tmp_path / "out", "toy", tmp_path / "data")
    with pytest.raises(InputError, match="tony"):
        scorer("tony", str(tmp_path / "data"), 5, tmp_path / "scores")
    assert not (tmp_path / "out").exists()
