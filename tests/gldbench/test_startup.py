"""Help texts and mistakes come before slow imports: each command runs in a fresh process that reports its imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from gldbench import cli

MINI = Path(__file__).parent / "mini.yaml"
SLOW = ("torch", "transformers", "pandas", "lm_eval", "matplotlib")
MODELS = ("torch", "transformers", "lm_eval")
HELP_SECONDS = 0.5
CHILD = """
import json, resource, sys
result, sys.argv = sys.argv[1], ["gldbench", *sys.argv[2:]]
from gldbench import cli
try:
    code = cli.main()
except SystemExit as ended:
    code = ended.code
usage = resource.getrusage(resource.RUSAGE_SELF)
with open(result, "w") as file:
    json.dump({"code": code or 0, "seconds": usage.ru_utime + usage.ru_stime, "modules": list(sys.modules)}, file)
"""
RECIPE = {
    "name": "test",
    "pivot": "pivot",
    "data": "data.jsonl",
    "sources": [{"name": "a", "checkpoint": "source", "cache": "cache"}],
    "terms": [{"loss": "uld", "weight": 1.0}],
    "lambda": 0.5,
    "train": {"steps": 1, "batch_size": 1, "learning_rate": 0.001},
}


@dataclass(frozen=True)
class Ended:
    """How a command ended in a fresh process."""

    code: int
    seconds: float
    """CPU time of the process"""
    modules: set[str]
    output: str
    errors: str


def command(folder: Path, *arguments: str) -> Ended:
    result = folder / "result.json"
    line = [sys.executable, "-c", CHILD, str(result), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder)
    assert result.exists(), done.stderr
    found = json.loads(result.read_text())
    return Ended(found["code"], found["seconds"], set(found["modules"]), done.stdout, done.stderr)


def verbs(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command below `group`, groups included."""
    for name, inner in getattr(group, "commands", {}).items():
        yield (*before, name)
        yield from verbs(inner, (*before, name))


def test_help_is_quick_and_imports_nothing_slow(tmp_path: Path) -> None:
    seconds = []
    for _ in range(5):
        ended = command(tmp_path, "--help")
        assert ended.code == 0
        assert not ended.modules & set(SLOW)
        seconds.append(ended.seconds)
        if min(seconds) <= HELP_SECONDS:
            break
    assert min(seconds) <= HELP_SECONDS, seconds


@pytest.mark.parametrize("verb", list(verbs(get_command(cli.app))), ids=" ".join)
def test_every_verb_explains_itself_and_imports_nothing_slow(verb: tuple[str, ...], tmp_path: Path) -> None:
    ended = command(tmp_path, *verb, "--help")
    assert ended.code == 0, ended.errors
    assert len(ended.output) > 200
    assert not ended.modules & set(SLOW)


def recipe(folder: Path, **changes: Any) -> str:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(RECIPE | changes))  # JSON is YAML
    return path.name


def spec(folder: Path, old: str, new: str) -> str:
    text = MINI.read_text()
    assert old in text
    path = folder / "spec.yaml"
    path.write_text(text.replace(old, new, 1))
    return path.name


def checkpoint(folder: Path) -> None:
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "missing.yaml"], "spec not found"),
        (["run", "tinny"], 'did you mean "tiny"'),
        (["report", "nowhere"], "environment of the run not found"),
        (["report", "."], "environment of the run not found"),
        (["fuse", "missing.yaml", "--output", "out"], "recipe not found"),
        (["cache", "missing.yaml"], "recipe not found"),
        (["cache", "verify", "nowhere"], "no cache at nowhere"),
        (["cache", "stat", "nowhere"], "no cache at nowhere"),
        (["tasks", "show", "gsm9k"], 'did you mean "gsm8k"'),
        (["run"], "Missing argument"),
        (["fuse", "recipe.yaml"], "Missing option"),
        (["losse"], "No such command"),
    ],
)
def test_wrong_paths_and_names_are_told_before_torch(tmp_path: Path, arguments: list[str], told: str) -> None:
    ended = command(tmp_path, *arguments)
    assert ended.code == 2
    assert told in ended.errors
    assert not ended.modules & set(MODELS)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("name: mini", "name: [mini", "is not valid YAML"),
        ("wrong_labels:", "wrong_label:", 'did you mean "wrong_labels"'),
        ("steps: 6", "steps: -6", "greater than 0"),
        ("  sft: {}", "  sft: {kind: trian}", 'methods.sft.kind: there is no kind "trian" (did you mean "train"?)'),
    ],
)
def test_mistakes_in_a_spec_are_told_before_torch(tmp_path: Path, old: str, new: str, told: str) -> None:
    ended = command(tmp_path, "run", spec(tmp_path, old, new))
    assert ended.code == 2
    assert told in ended.errors
    assert not ended.modules & set(MODELS)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("loss: uld", "loss: udl", "methods.sft+uld+gld.terms.0: "),
        ("loss: gld, weight: 0.1", "loss: gld, weight: 0.1, options: {edgs: constant}", 'did you mean "edges"'),
    ],
)
def test_unknown_losses_are_told_before_work_begins(tmp_path: Path, old: str, new: str, told: str) -> None:
    """The losses themselves need torch; transformers is not needed."""
    ended = command(tmp_path, "run", spec(tmp_path, old, new))
    assert ended.code == 2
    assert told in ended.errors
    assert "transformers" not in ended.modules
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("verb", ["fuse", "cache"])
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lamda": 0.5}, 'did you mean "lambda"'),
        ({"train": {"steps": 0, "batch_size": 1, "learning_rate": 0.1}}, "greater than 0"),
        ({}, "recipe key data: training data not found"),
    ],
)
def test_mistakes_in_a_recipe_are_told_before_torch(
    tmp_path: Path, verb: str, changes: dict[str, Any], told: str
) -> None:
    output = ["--output", "out"] if verb == "fuse" else []
    ended = command(tmp_path, verb, recipe(tmp_path, **changes), *output)
    assert ended.code == 2
    assert told in ended.errors
    assert not ended.modules & set(MODELS)
    assert not (tmp_path / "out").exists()


def test_missing_models_and_an_existing_output_are_told_before_torch(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").touch()
    cached = command(tmp_path, "cache", recipe(tmp_path))
    without_pivot = command(tmp_path, "fuse", recipe(tmp_path), "--output", "out")
    checkpoint(tmp_path / "pivot")
    without_cache = command(tmp_path, "fuse", recipe(tmp_path), "--output", "out")
    twice = command(tmp_path, "fuse", recipe(tmp_path, sources=[], terms=[]), "--output", "pivot")
    live = command(tmp_path, "cache", recipe(tmp_path, sources=[{"name": "a", "checkpoint": "source"}]))
    for ended, told in (
        (cached, "recipe key checkpoint of the source"),
        (without_pivot, "recipe key pivot"),
        (without_cache, "recipe key cache of the source"),
        (twice, "will not overwrite"),
        (live, "names a cache"),
    ):
        assert ended.code == 2
        assert told in ended.errors
        assert not ended.modules & set(MODELS)


@pytest.mark.parametrize("arguments", [["doctor"], ["tasks", "list"], ["tasks", "show", "gsm8k"]])
def test_looking_around_needs_no_torch(tmp_path: Path, arguments: list[str]) -> None:
    ended = command(tmp_path, *arguments)
    assert ended.code == 0, ended.errors
    assert not ended.modules & set(SLOW)


def test_specs_recipes_and_reports_import_without_models(tmp_path: Path) -> None:
    code = (
        "import sys, gldbench.report, gldbench.run, gldbench.spec, gldfusion.recipe; "
        f"print(sorted(set({MODELS}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr
