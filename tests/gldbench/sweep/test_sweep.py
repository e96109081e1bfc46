"""`gldbench run RECIPE`: the shipped recipes run whole with a substitute; sets and scores are right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gldbench.cli import app
from gldbench.grade.judges.rouge import rouge_l
from gldbench.plan.recipes import SHIPPED
from gldbench.sweep.definition import find_sweep, fusions, load_sweep, recipe_of
from gldbench.sweep.sets import load_set
from gldfusion.errors import InputError
from gldfusion.recipe import load_recipe


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def printed(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return json.loads(result.stdout)


@pytest.fixture
def appendix(tmp_path: Path) -> Path:
    """A copy of the shipped sweep of the appendix, whose paths refer to an empty folder."""
    path = tmp_path / "distill-appendix.yaml"
    shutil.copy(SHIPPED / path.name, path)
    return path


def test_the_appendix_has_nine_fusions_with_the_models_of_the_paper(appendix: Path, tmp_path: Path) -> None:
    sweep = load_sweep(str(appendix))
    names = fusions(sweep)
    assert len(names) == 9
    recipe = recipe_of(sweep, "opt-350m-from-llama3-8b", tmp_path)
    assert recipe.pivot == tmp_path / "models" / "opt-350m"
    assert [source.name for source in recipe.sources] == ["llama3-8b"]
    assert set(sweep.evaluation.sets) == {"dolly", "selfinst", "vicuna", "sni"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("k", "full", "needs a number of logits\nset k"),
        ("train", {"on_policy": {"every": 10}}, "before the training.*\nremove train.on_policy, or"),
    ],
)
def test_logits_that_cannot_be_stored_are_refused(
    appendix: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    sweep = load_sweep(str(appendix))
    changed = sweep.model_copy(update={"recipe": sweep.recipe | {key: value}})
    with pytest.raises(InputError, match=message):
        recipe_of(changed, "opt-350m-from-llama3-8b", tmp_path)


def test_the_appendix_runs_whole_with_a_substitute_and_resumes(appendix: Path, tmp_path: Path) -> None:
    arguments = (appendix, "--substitute", "tiny", "--engine", "serial", "--output", tmp_path / "run")
    arguments += ("--only", "gpt2-120m-from-llama3-8b,bloomz-560m-from-qwen2.5-7b")
    found = printed(*arguments)
    assert found["jobs_run"] == 2 + 2 + 4
    scored = {(one["checkpoint"], one["task"]): one for one in found["scores"]}
    assert {name for name, _ in scored} == {
        "gpt2-120m", "gpt2-120m-from-llama3-8b", "bloomz-560m", "bloomz-560m-from-qwen2.5-7b"
    }  # fmt: skip
    assert {task for _, task in scored} == {"dolly", "selfinst", "vicuna", "sni"}
    assert all(one["items"] == 3 and 0 <= one["score"] < 1 for one in scored.values())
    again = printed(*arguments)
    assert again["jobs_run"] == 0
    assert again["scores"] == found["scores"]
    assert "the scores mean nothing" in run(*arguments).stdout


def test_a_recipe_keeps_the_settings_of_its_sources(tmp_path: Path) -> None:
    """But for the cache, which lies in the folder of the run."""
    source = {"name": "a", "checkpoint": "a", "dtype": "float16", "weight": 0.5, "device": "cpu", "offload": True}
    content = {
        "name": "own",
        "pivot": "pivot",
        "data": "data.jsonl",
        "sources": [
            source | {"control": "shuffled"},
            {"name": "b", "checkpoint": "b", "cache": "c", "vllm": "http://b"},
        ],
        "terms": [{"loss": "uld", "weight": 0.5}],
        "train": {"steps": 2, "batch_size": 2, "learning_rate": 0.1},
    }
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    recipe, run = load_recipe(path), tmp_path / "run"
    made = recipe_of(load_sweep(str(path)), "pivot-fused", run)
    expected = [s.model_copy(update={"cache": run / "cache" / s.name}) for s in recipe.sources]
    assert list(made.sources) == expected
    assert made.train == recipe.train
    assert made.terms == recipe.terms


def test_a_checkpoint_that_was_fused_elsewhere_is_only_evaluated(appendix: Path, tmp_path: Path) -> None:
    """A fusion that needs several GPUs is launched by hand, into the folder of the run."""
    name = "gpt2-120m-from-llama3-8b"
    arguments = (appendix, "--substitute", "tiny", "--engine", "serial", "--only", name, "--output")
    whole = printed(*arguments, tmp_path / "whole")
    assert whole["jobs_run"] == 1 + 1 + 2
    shutil.copytree(tmp_path / "whole" / "checkpoints" / name, tmp_path / "other" / "checkpoints" / name)
    other = printed(*arguments, tmp_path / "other")
    assert other["jobs_run"] == 2
    assert other["scores"] == whole["scores"]


@pytest.mark.slow
def test_the_whole_appendix_runs_with_a_substitute(appendix: Path, tmp_path: Path) -> None:
    found = printed(appendix, "--substitute", "tiny", "--output", tmp_path / "run")
    assert found["jobs_run"] == 3 + 9 + 9 + 3
    assert len(found["scores"]) == 12 * 4


def test_the_recipe_of_the_paper_runs_whole_with_a_substitute(tmp_path: Path) -> None:
    found = printed("paper", "--substitute", "tiny", "--engine", "serial", "--output", tmp_path / "run")
    assert found["jobs_run"] == 3 + 1 + 2
    assert found["left_out"] == ["paper11"]
    assert (tmp_path / "run" / "checkpoints" / "pivot-fused" / "model.safetensors").is_file()


def test_benchmarks_are_graded_by_their_headline(appendix: Path, tmp_path: Path, benchmark_data: Path) -> None:
    content = yaml.safe_load(appendix.read_text()) | {"evaluation": {"tasks": ["gsm8k"]}}
    appendix.write_text(yaml.safe_dump(content))
    arguments = ("--substitute", "tiny", "--engine", "serial", "--only", "opt-350m-from-mistral-7b", "--limit", 2)
    found = printed(appendix, *arguments, "--output", tmp_path / "run", "--data", benchmark_data)
    assert [(one["task"], one["items"]) for one in found["scores"]] == [("gsm8k", 2)] * 2
    assert found["left_out"] == []


def test_rouge_l_is_the_one_of_the_field() -> None:
    assert rouge_l("the cat sat", ["the cat sat on the mat"]) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert rouge_l("mat the on", ["the cat sat on the mat"]) == pytest.approx(
        2 * (1 / 3 * 2) * (1 / 3) / (2 / 3 + 1 / 3)
    )
    assert rouge_l("runs", ["no", "running"]) == 1  # stems, and the best reference
    assert rouge_l("", ["x"]) == 0


def test_sets_of_the_field_are_read(tmp_path: Path) -> None:
    file = tmp_path / "sni.jsonl"
    lines: list[dict[str, Any]] = [
        {"instruction": "Add.", "input": "1 and 2", "output": ["3", "three"]},
        {"instruction": "Say hello.", "context": "", "response": "Hello"},
        {"prompt": "Bye?", "output": "Bye"},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task, items = load_set("sni", file, 32, 2)
    assert (task.generation.max_tokens, task.dataset.count, len(items)) == (32, 3, 2)
    assert (items[0].prompt, items[0].golds) == ("Add.\n\n1 and 2", ("3", "three"))
    assert (items[1].prompt, items[1].golds) == ("Say hello.", ("Hello",))


@pytest.mark.parametrize("line", ['{"instruction": "x"}', '{"output": "x"}', '{"instruction": 1, "output": "x"}', "[]"])
def test_a_wrong_line_of_a_set_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(InputError, match="line 1"):
        load_set("set", file, 32, None)
    with pytest.raises(InputError, match="is not here"):
        load_set("set", tmp_path / "none.jsonl", 32, None)


def test_wrong_calls_are_refused(appendix: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ((appendix, "--only", "gpt3"), 'has no fusion "gpt3"'),
        ((appendix, "--plan"), "use `gldbench plan RECIPE`"),
        ((appendix, "--substitute", "models/x"), "a recipe takes tiny only"),
        ((appendix,), "does not exist"),
    ):
        error = run(*arguments, "--output", tmp_path / "run").exception
        assert isinstance(error, InputError), arguments
        assert words in str(error)
        assert len(str(error).splitlines()) <= 3
    assert not (tmp_path / "run" / "spec.yaml").exists()


def test_experiments_and_tables_are_no_recipes() -> None:
    assert find_sweep("tiny") is None
    assert find_sweep("table3") is None
    assert find_sweep("paper") == SHIPPED / "paper.yaml"
