"""An evaluation is exported to other tools' formats, and these tools read it back.

The tests marked `needs_inspect` are skipped where inspect-ai is not installed, and so they are in the environment that
`make setup` makes: inspect-ai needs fsspec 2026.6 or older, and constraints.txt pins a newer one. To run them, make an
environment without the constraints: `pip install -e '.[dev,inspect]'`.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gldbench import cli
from gldbench.evaluate.evaluate import evaluate
from gldbench.evaluate.score import score
from gldbench.export import EXPORTS, export
from gldbench.store import Store
from gldfusion.errors import InputError

ChainMaker = Callable[..., Path]
COUNTING = {"1": "2", "2": "3", "3": "4", "4": "5", "x": "x"}
ROWS = [
    {"q": "=first 1", "gold": "2345"},
    {"q": "second, 2", "gold": "345"},
    {"q": "third\n3", "gold": "46"},
    {"q": "fourth x", "gold": "1"},
]
needs_inspect = pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="inspect-ai is not installed")


@pytest.fixture
def out(tmp_path: Path, chain: ChainMaker, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output folder of an evaluation of two checkpoints on a small benchmark with subtasks."""
    content = "".join(json.dumps(row | {"part": "a/b"}) + "\n" for row in ROWS)
    task: dict[str, Any] = {
        "name": "toy",
        "version": 3,
        "title": "toy",
        "dataset": {
            "kind": "file",
            "file": "toy.jsonl",
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
            "count": len(ROWS),
            "licence": "MIT",
            "target": "gold",
        },
        "prompt": "{q}",
        "scorer": "number",
        "answer_pattern": {"answer": r"(\d+)"},
        "generation": {"max_tokens": 20, "stop": ["Q:"]},
        "headline": {"grader": "ours", "filter": "answer", "metric": "exact_match"},
        "chance": 0.0,
        "citation": "nobody",
    }
    (tmp_path / "tasks" / "toy").mkdir(parents=True)
    (tmp_path / "tasks" / "toy" / "task.yaml").write_text(yaml.safe_dump(task))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy.jsonl").write_text(content)
    monkeypatch.setattr("gldbench.tasks.load.tasks_root", lambda: tmp_path / "tasks")
    models = [chain(COUNTING, name="one"), chain({"1": "9", "x": "1"}, name="two")]
    evaluate(models, ["toy"], tmp_path / "data", None, tmp_path / "out", device="cpu")
    return tmp_path / "out"


def test_csv_has_a_line_for_each_grade(out: Path, tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli.app, ["export", str(out), "--to", "csv", str(tmp_path / "csv")])
    assert ended.exit_code == 0, ended.output
    assert ended.output.strip() == str(tmp_path / "csv" / "items.csv")
    with (tmp_path / "csv" / "items.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    rows = Store(out).rows()
    assert len(lines) == len(rows)
    heads = [line for line in lines if line["headline"] == "1" and line["checkpoint"].startswith("one@")]
    assert [line["value"] for line in heads] == ["1.0", "1.0", "0.0", "0.0"]
    assert [line["prompt"] for line in heads] == [row["q"] for row in ROWS]
    assert [line["output"] for line in heads][:3] == ["2345", "345", "45"]
    assert {line["task_version"] for line in lines} == {"3"}


def test_lm_eval_files_are_read_by_lm_eval_and_by_us(out: Path, tmp_path: Path) -> None:
    from datasets import load_dataset
    from lm_eval import utils

    written = [str(path) for path in export(str(out), "lm-eval", tmp_path / "lm")]
    results, samples = utils.get_results_filenames(written), utils.get_sample_results_filenames(written)
    assert (len(results), len(samples)) == (2, 2)
    assert utils.get_file_task_name(Path(samples[0]).name) == "toy"
    (own,) = [name for name in results if "one@" in name]
    told = json.loads(Path(own).read_text())
    assert told["results"]["toy"]["exact_match,ours/answer"] == 0.5
    assert told["results"]["toy"]["exact_match_stderr,ours/answer"] == pytest.approx(0.2887, abs=1e-4)
    assert told["configs"]["toy"]["stop"] == ["Q:"]
    table = utils.make_table(told)
    assert "ours/answer" in table
    assert "lm_eval/answer" in table
    (own,) = [name for name in samples if "one@" in name]
    rows = load_dataset("json", data_files=own, split="train", cache_dir=str(tmp_path / "cache")).to_list()
    assert {row["filter"] for row in rows} == {"ours/answer", "lm_eval/answer"}
    again = score("toy", Path(own), tmp_path / "data", ["ours"])
    assert (again["format"], again["n"], again["headline"]["score"]) == ("lm-eval", 4, 0.5)


@needs_inspect
def test_inspect_logs_are_read_back(out: Path, tmp_path: Path) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log  # pyright: ignore[reportMissingImports]

    export(str(out), "inspect", tmp_path / "logs")
    assert len(list_eval_logs(str(tmp_path / "logs"))) == 2
    (path,) = (tmp_path / "logs").glob("*one@*.eval")
    log = read_eval_log(str(path))
    assert (log.status, log.eval.task, log.eval.task_version) == ("success", "toy", 3)
    assert log.eval.model.startswith("gldbench/one@")
    assert (log.eval.model_generate_config.max_tokens, log.eval.model_generate_config.stop_seqs) == (20, ["Q:"])
    assert log.results is not None
    assert {s.name: s.metrics["mean"].value for s in log.results.scores} == {
        "ours/answer/exact_match": 0.5,
        "lm_eval/answer/exact_match": 0.5,
    }
    assert log.results.scores[0].name == "ours/answer/exact_match", "the headline comes first"
    assert log.samples is not None
    by_id = {sample.id: sample for sample in log.samples}
    first = by_id["0"]
    assert (first.input, first.target, first.output.completion) == ("=first 1", ["2345"], "2345")
    assert first.scores is not None
    mark = first.scores["ours/answer/exact_match"]
    assert (mark.value, mark.answer) == (1.0, "2345")
    assert (mark.explanation or "").startswith("ok; found by ")
    lost = by_id["3"].scores
    assert lost is not None
    assert lost["lm_eval/answer/exact_match"].explanation == "truncated; no answer found; " + (
        "the output was cut off after 20 tokens"
    )
    again = score("toy", path, tmp_path / "data", ["ours"])
    assert (again["format"], again["n"], again["headline"]["score"]) == ("inspect", 4, 0.5)


RUN_INSPECT = """
import json, sys
import inspect_ai
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

folder, suffix, rows = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

def answer(messages, *_):
    row = next(row for row in rows if row["q"] in messages[-1].text)
    output = ModelOutput.from_content("mockllm/model", f"The answer is {row['gold']}.")
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)  # else it downloads a tokenizer
    return output

dataset = [Sample(input=f"Please answer.\\n{row['q']}\\nAnswer:", target=row["gold"]) for row in reversed(rows)]
task = inspect_ai.Task(dataset=dataset, solver=generate(), scorer=includes(), epochs=2)
model = get_model("mockllm/model", custom_outputs=answer)
(log,) = inspect_ai.eval(task, model=model, log_dir=folder, log_format=suffix, display="none")
assert log.status == "success", log.error
"""
"""run in a process of its own, because the library warns where these tests allow no warning"""


@needs_inspect
@pytest.mark.parametrize("suffix", ["eval", "json"])
def test_a_log_that_inspect_itself_made_is_scored(suffix: str, out: Path, tmp_path: Path) -> None:
    arguments = [str(tmp_path / suffix), suffix, json.dumps(ROWS)]
    subprocess.run([sys.executable, "-W", "ignore", "-c", RUN_INSPECT, *arguments], check=True, cwd=tmp_path)
    (path,) = (tmp_path / suffix).glob(f"*.{suffix}")
    result = score("toy", path, tmp_path / "data", ["ours"])
    assert (result["format"], result["n"], result["unmatched"]) == ("inspect", 4, 0)
    assert result["headline"]["score"] == 1.0
    assert result["samples"]["most"] == 2
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="inspect-ai cannot read"):
        score("toy", path, tmp_path / "data", ["ours"], file_format="inspect")


def test_one_checkpoint_can_be_named(out: Path, tmp_path: Path) -> None:
    export(f"{out}:two", "csv", tmp_path / "csv")
    text = (tmp_path / "csv" / "items.csv").read_text()
    assert "two@" in text
    assert "one@" not in text


def test_mistakes_are_told_and_leave_nothing(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match='did you mean "inspect"'):
        export(str(out), "inspct", tmp_path / "x")
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="will not overwrite"):
        export(str(out), "csv", tmp_path / "there")
    with pytest.raises(InputError, match="holds no rows"):
        export(str(tmp_path / "there"), "csv", tmp_path / "x")
    monkeypatch.setitem(__import__("sys").modules, "inspect_ai", None)
    monkeypatch.setitem(__import__("sys").modules, "inspect_ai.log", None)
    with pytest.raises(InputError, match=r"pip install 'gldbench\[inspect\]'"):
        export(str(out), "inspect", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert set(EXPORTS) == {"inspect", "lm-eval", "csv"}
