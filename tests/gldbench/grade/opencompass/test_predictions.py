"""Files of predictions are read that OpenCompass itself writes: its own inference runs a model with stored answers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gldbench import cli, overlay
from gldbench.grade import GRADERS
from gldbench.schema import Item
from gldbench.tasks import load_items, load_task, take

pytestmark = [pytest.mark.opencompass, pytest.mark.timeout(300)]
CONFIGURATION = """
from mmengine.config import read_base
with read_base():
    from opencompass.configs.datasets.{module} import {name} as datasets
models = [dict(abbr='stored', type='stored_model.{model}', path={answers!r}, generation_kwargs=dict({options}))]
"""


@pytest.fixture(autouse=True, scope="module")
def _set_up() -> None:
    if reason := GRADERS["opencompass"].missing():
        pytest.fail(reason)


def infer(
    folder: Path, module: str, name: str, model: str, answers: Mapping[str, Sequence[str]], data: Mapping[str, str]
) -> Path:
    """Runs OpenCompass's inference. Returns the file of predictions that it wrote.

    Args:
        folder: an empty folder.
        module: the configuration of the data set, below configs/datasets.
        name: the variable of the configuration that lists the data sets.
        model: a class of stored_model.py.
        answers: question -> the outputs.
        data: path below the data folder of OpenCompass -> content.
    """
    for path, content in data.items():
        (folder / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "data" / path).write_text(content)
    (folder / "answers.json").write_text(json.dumps(answers))
    samples = len(next(iter(answers.values())))
    text = CONFIGURATION.format(
        module=module,
        name=name,
        model=model,
        answers=str(folder / "answers.json"),
        options=f"num_return_sequences={samples}" if samples > 1 else "",
    )
    (folder / "cfg.py").write_text(text)
    command = [str(overlay.python(overlay.default_place())), "-W", "ignore", "-m", "opencompass.cli.main", "cfg.py"]
    environment = os.environ | {"COMPASS_DATA_CACHE": str(folder), "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [*command, "-m", "infer", "-w", "work", "--debug"], cwd=folder, env=environment, capture_output=True, text=True
    )
    found = list((folder / "work").rglob("predictions/stored/*.json"))
    assert len(found) == 1, done.stdout + done.stderr
    return found[0]


def scored(task: str, path: Path, data: Path, file_format: str) -> dict[str, object]:
    ended = CliRunner().invoke(
        cli.app,
        ["score", task, str(path), "--data", str(data), "--format", file_format, "--harness", "ours", "--json"],
    )
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


@pytest.mark.parametrize("model", ["Local", "Served"])
@pytest.mark.parametrize("samples", [1, 2])
def test_predictions_on_gsm8k(model: str, samples: int, benchmark_data: Path, tmp_path: Path) -> None:
    items = take(load_items(load_task("gsm8k"), benchmark_data), 12)
    right = {item.item_id for item in items[::3]}
    answers = {
        item.record["question"]: [f"It is \\boxed{{{item.target if item.item_id in right else 987654}}}", "Who knows?"]
        for item in items
    }
    lines = "".join(json.dumps(dict(item.record)) + "\n" for item in reversed(items))  # an order of its own
    path = infer(
        tmp_path,
        "gsm8k.gsm8k_0shot_v2_gen_a58960",
        "gsm8k_datasets",
        model,
        {question: outputs[:samples] for question, outputs in answers.items()},
        {"gsm8k/train.jsonl": lines, "gsm8k/test.jsonl": lines},
    )
    for file_format in ("opencompass", "auto"):
        result = scored("gsm8k", path, benchmark_data, file_format)
        assert (result["format"], result["n"], result["unmatched"]) == ("opencompass", 12, 0)
        assert result["headline"]["score"] == pytest.approx(len(right) / 12 / samples)
        assert (result["samples"] or {}).get("most", 1) == samples


def test_predictions_on_arc(benchmark_data: Path, tmp_path: Path) -> None:
    """OpenCompass's reader leaves out questions without four options, so that its numbers are not ours."""
    known = load_items(load_task("arc_c"), benchmark_data)
    items: list[Item] = [*[item for item in known if len(item.choices) != 4][:2], *take(known, 10)]
    kept = [item for item in items if len(item.choices) == 4]
    stems = {item.item_id: item.record["question"]["stem"] for item in items}
    path = infer(
        tmp_path,
        "ARC_c.ARC_c_gen_1e0de5",
        "ARC_c_datasets",
        "Served",
        {stems[item.item_id]: [item.target if place % 2 else "None of them."] for place, item in enumerate(kept)},
        {"ARC/ARC-c/ARC-Challenge-Dev.jsonl": "".join(json.dumps(dict(item.record)) + "\n" for item in items)},
    )
    for file_format in ("opencompass", "auto"):
        result = scored("arc_c", path, benchmark_data, file_format)
        assert (result["format"], result["n"], result["unmatched"]) == ("opencompass", len(kept), 0)
        assert result["headline"]["score"] == pytest.approx(len(kept) // 2 / len(kept))
