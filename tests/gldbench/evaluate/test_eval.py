"""`evaluate` makes rows and scores from data files, generates nothing twice, and counts everything that is missing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gldbench.commands.eval import HEADER, closing_line, table
from gldbench.evaluate.evaluate import evaluate
from gldbench.evaluate.results import Evaluation, as_json
from gldbench.generate.checkpoint import Engine
from gldbench.generate.generate import BACKENDS
from gldbench.grade import GRADERS
from gldbench.grade.rows import graders_named
from gldbench.sandbox import launch
from gldbench.stats import wilson
from gldbench.store import Store
from gldbench.tasks import load_items, load_task
from gldfusion.errors import InputError
from gldfusion.files import lock
from gldfusion.manifest import change_manifest

ChainMaker = Callable[..., Path]
COUNTING = {"1": "2", "2": "3", "3": "4", "4": "5", "x": "x"}
# the model answers "2345", "345", "45", "xxx..." without end, nothing, and "5"
ROWS = [
    {"q": "a 1", "gold": "2345"},
    {"q": "b 2", "gold": "345"},
    {"q": "c 3", "gold": "46"},
    {"q": "d x", "gold": "1"},
    {"q": "e z", "gold": "1"},
    {"q": "f 4" + 70 * "z" + "4", "gold": "5"},
]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one small benchmark, "toy", which stands in for tasks/."""
    content = "".join(json.dumps(row) + "\n" for row in ROWS)
    task = {
        "name": "toy",
        "version": 1,
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
        "answer_pattern": {"digits": r"(\d+)", "line": "(.+)"},
        "generation": {"max_tokens": 40, "stop": []},
        "headline": {"grader": "lm_eval", "filter": "digits", "metric": "exact_match"},
        "chance": 0.0,
        "citation": "nobody",
    }
    (tmp_path / "tasks" / "toy").mkdir(parents=True)
    (tmp_path / "tasks" / "toy" / "task.yaml").write_text(yaml.safe_dump(task))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy.jsonl").write_text(content)
    monkeypatch.setattr("gldbench.tasks.load.tasks_root", lambda: tmp_path / "tasks")
    return tmp_path


def run(folder: Path, *checkpoints: Path, limit: int | None = None, **options: Any) -> Evaluation:
    return evaluate(checkpoints, ["toy"], folder / "data", limit, folder / "out", device="cpu", **options)


def test_scores_and_everything_that_went_missing(toy: Path, chain: ChainMaker) -> None:
    evaluation = run(toy, chain(COUNTING, context=72))
    (score,) = evaluation.scores
    assert (score.n, score.n_task, score.max_tokens) == (6, 6, 36)
    assert [row.value for row in score.headline] == [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert [row.status for row in score.headline] == ["ok", "ok", "ok", "truncated", "no_answer", "ok"]
    assert (score.truncated_prompts, score.truncated_outputs) == (1, 1)
    assert score.score == wilson(3, 6)
    cells = dict(zip(HEADER, table(evaluation)[1], strict=True))
    assert cells["items"] == "6 of 6"
    assert cells["score"] == "0.500"
    assert (cells["no answer"], cells["errors"], cells["prompts cut"], cells["outputs cut"]) == ("2", "0", "1", "1")
    assert cells["answer limit"] == "36 (task: 40)"


def test_the_summary_for_machines_names_every_grader_and_filter(toy: Path, chain: ChainMaker) -> None:
    evaluation = run(toy, chain(COUNTING))
    summary = json.loads((toy / "out" / "evaluation.json").read_text())
    assert summary == as_json(evaluation)
    (score,) = summary["scores"]
    assert (score["task"], score["n"], score["n_task"]) == ("toy", 6, 6)
    assert score["headline"]["grader"] == "lm_eval"
    assert score["headline"]["score"] == 0.5
    assert score["headline"]["low"] < 0.5 < score["headline"]["high"]
    assert set(score["graders"]) == {"lm_eval", "ours"}
    for grader in score["graders"].values():
        assert grader == {
            "metric": "exact_match",
            "filter": "digits",
            "score": 0.5,
            "no_answer": 2,
            "errors": 0,
            "ungraded": 0,
            "filters": {"digits": {"exact_match": 0.5}, "line": {"exact_match": 0.5}},
        }


def test_a_second_identical_call_generates_nothing(
    toy: Path, chain: ChainMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = chain(COUNTING)
    first = run(toy, path)
    assert (first.generated, first.responses) == (6, 6)
    rows = Store(toy / "out").rows()

    def no_backend(*_: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setitem(BACKENDS, "hf", no_backend)
    second = run(toy, path)
    assert second.generated_tokens == 0
    assert closing_line(second).startswith("generated 0 tokens in 0 responses")
    assert closing_line(second).endswith("6 of 6 responses were stored already")
    assert table(second) == table(first)
    assert Store(toy / "out").rows() == rows


def test_a_larger_limit_adds_only_what_is_new(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    assert run(toy, path, limit=2).scores[0].n == 2
    larger = run(toy, path, limit=5)
    assert (larger.generated, larger.responses, larger.scores[0].n, larger.scores[0].n_task) == (3, 5, 5, 6)
    rows = Store(toy / "out").rows()
    assert len(rows) == 5 * 2 * 2
    assert len({(row.item, row.grader, row.filter) for row in rows}) == len(rows)
    assert len(Store(toy / "out").responses()) == 5


def test_several_checkpoints_are_kept_apart(toy: Path, chain: ChainMaker) -> None:
    good, bad = chain(COUNTING), chain({"1": "9"}, name="bad")
    seen: list[tuple[int, int]] = []
    evaluation = run(toy, good, bad, good, progress=lambda done, total: seen.append((done, total)))
    assert [score.score.value for score in evaluation.scores] == [0.5, 0.0]
    assert len({score.subject for score in evaluation.scores}) == 2
    assert seen == [(0, 6), (6, 6), (0, 6), (6, 6)]
    assert {row.subject for row in Store(toy / "out").rows()} == {score.subject for score in evaluation.scores}


def test_a_checkpoint_retrained_in_place_is_evaluated_again(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    assert run(toy, path).scores[0].score.value == 0.5
    shutil.rmtree(path)
    chain({"1": "9"})
    again = run(toy, path)
    assert again.generated == 6
    assert again.scores[0].score.value == 0.0


def test_what_is_wrong_is_found_before_anything_is_generated(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    with pytest.raises(InputError, match='did you mean "toy"'):
        evaluate([path], ["toy", "toi"], toy / "data", None, toy / "out")
    with pytest.raises(InputError, match="benchmark data not found"):
        evaluate([path], ["toy"], toy, None, toy / "out")
    with pytest.raises(InputError, match="not a checkpoint"):
        evaluate([path, toy], ["toy"], toy / "data", None, toy / "out")
    with pytest.raises(InputError, match="limit must be at least 1"):
        run(toy, path, limit=0)
    with pytest.raises(InputError, match='no grader is called "our"'):
        run(toy, path, graders=("our",))
    with pytest.raises(InputError, match='no backend is called "vlm"'):
        run(toy, path, backend="vlm")
    assert not (toy / "out").exists()


def change_task(folder: Path, **changes: Any) -> None:
    """Other keys in the task.yaml of "toy"."""
    path = folder / "tasks" / "toy" / "task.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def test_a_task_of_code_is_refused_without_a_sandbox_before_anything_is_generated(
    toy: Path, chain: ChainMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_task(toy, scorer="code", answer_pattern={}, headline={"grader": "ours", "filter": "answer", "metric": "x"})
    monkeypatch.setattr(launch, "trouble", lambda: "bubblewrap (bwrap) is not installed")
    with pytest.raises(InputError, match="needs a sandbox: bubblewrap") as caught:
        run(toy, chain(COUNTING))
    assert "--unsafe-code" in str(caught.value)
    assert not (toy / "out").exists()


def test_what_is_graded_otherwise_than_before_replaces_its_rows(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    run(toy, path, limit=3)
    before = Store(toy / "out").rows()
    change_task(toy, answer_pattern={"digits": r"(\d)", "line": "(.+)"})  # the last digit only
    again = run(toy, path)
    assert again.generated == 3
    rows = Store(toy / "out").rows()
    assert len(rows) == 6 * 2 * 2 == len({(row.item, row.grader, row.filter) for row in rows})
    values = {(row.item, row.grader, row.filter): row.value for row in rows}
    assert values["0", "ours", "digits"] == 0.0
    assert next(row.value for row in before if (row.item, row.grader, row.filter) == ("0", "ours", "digits")) == 1.0
    assert len(list((toy / "out" / "rows").glob("part-*"))) == 1


def test_changed_data_is_refused_or_named_in_every_row(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    with (toy / "data" / "toy.jsonl").open("a") as file:
        file.write(json.dumps({"q": "g 1", "gold": "2345"}) + "\n")
    with pytest.raises(InputError, match="toy"):
        run(toy, path)
    assert not (toy / "out").exists()
    assert run(toy, path, allow_changed=True).scores[0].n == 7
    assert {row.variant for row in Store(toy / "out").rows()} == {"default+changed-data"}


def test_a_variant_asks_its_own_prompt_under_its_own_limits(toy: Path, chain: ChainMaker) -> None:
    own = {"prompt": "{q} 3", "generation": {"max_tokens": 1, "stop": []}}
    change_task(toy, variants={"short": own})
    path = chain(COUNTING)
    run(toy, path, limit=2)
    short = run(toy, path, limit=2, variant="short")
    assert short.generated == 2
    assert [r.output for r in Store(toy / "out").responses()][2:] == ["4", "4"]
    assert {row.variant for row in Store(toy / "out").rows()} == {"default", "short"}
    with pytest.raises(InputError, match='no variant "shirt"'):
        run(toy, path, variant="shirt")


def test_graders_are_chosen_by_name(toy: Path, chain: ChainMaker) -> None:
    assert graders_named(None) == tuple(name for name in GRADERS if name != "opencompass")  # it is not set up
    assert graders_named("ours, lm_eval,ours") == ("ours", "lm_eval")
    with pytest.raises(InputError, match=r'"opencompass" cannot be used: .*`gldbench setup opencompass`'):
        graders_named("ours,opencompass")
    with pytest.raises(InputError, match='did you mean "ours"'):
        graders_named("our")
    (score,) = run(toy, chain(COUNTING), graders=()).scores  # the headline's grader is always there
    assert {row.grader for row in score.rows} == {"lm_eval"}


def test_log_likelihoods_are_scored_and_generate_nothing(
    benchmark_data: Path, chain: ChainMaker, tmp_path: Path
) -> None:
    evaluation = evaluate([chain(COUNTING)], ["mmlu_ll"], benchmark_data, 5, tmp_path / "out", device="cpu")
    (score,) = evaluation.scores
    assert (score.n, evaluation.generated, evaluation.generated_tokens) == (5, 5, 0)
    assert {(row.filter, row.metric) for row in score.rows if row.grader == "ours"} == {
        ("acc", "accuracy"),
        ("acc_norm", "accuracy"),
    }
    assert all(row.status == "ok" for row in score.rows)


def test_an_output_folder_in_use_or_of_another_environment_is_refused(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    run(toy, path)
    with lock(toy / "out" / ".lock"), pytest.raises(InputError, match="in use by"):
        run(toy, path)
    env = json.loads((toy / "out" / "environment.json").read_text())
    (toy / "out" / "environment.json").write_text(json.dumps(env | {"env_id": "elsewhere"}))
    with pytest.raises(InputError, match=r"environment.json is damaged"):
        run(toy, path)
    change_manifest(toy / "out", add=["environment.json"])
    with pytest.raises(InputError, match="begun in another environment"):
        run(toy, path)


def test_damaged_responses_are_named(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    run(toy, path)
    part = next((toy / "out" / "responses").glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=f"{part.name} is corrupted"):
        run(toy, path)


def test_real_benchmarks_run_on_a_checkpoint_that_knows_nothing(
    benchmark_data: Path, chain: ChainMaker, tmp_path: Path
) -> None:
    path = chain(COUNTING, context=512)
    evaluation = evaluate([path], ["gsm8k", "bbh", "bbh/navigate"], benchmark_data, 3, tmp_path / "out", device="cpu")
    assert [(s.task.name, s.n, s.n_task) for s in evaluation.scores] == [
        ("gsm8k", 3, 1319),
        ("bbh", 3, 6511),
        ("bbh/navigate", 3, 250),
    ]
    assert {row.cluster for row in evaluation.scores[1].rows} == {
        "boolean_expressions",
        "causal_judgement",
        "date_understanding",
    }
    # one token per character, and half of the context is the answer's
    asked = [load_items(load_task("gsm8k"), benchmark_data, 3), load_items(load_task("bbh"), benchmark_data, 3)]
    cut = [sum(len(item.prompt) > 256 for item in items) for items in asked]
    assert 0 < cut[0] < 3
    assert [score.truncated_prompts for score in evaluation.scores] == [*cut, 3]
    assert all(score.score.value == 0.0 for score in evaluation.scores)
    assert all(row.status == "no_answer" for score in evaluation.scores for row in score.headline)


OWN_CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({witness!r}).touch()
class OwnConfig(LlamaConfig): model_type = "llama_of_its_own"
class OwnModel(LlamaForCausalLM): config_class = OwnConfig
"""


def test_code_of_a_checkpoint_runs_only_if_it_is_trusted_and_every_row_says_so(toy: Path, chain: ChainMaker) -> None:
    path, witness = chain(COUNTING), toy / "witness"
    (path / "own.py").write_text(OWN_CODE.format(witness=str(witness)))
    config = json.loads((path / "config.json").read_text())
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (path / "config.json").write_text(json.dumps(config | {"model_type": "llama_of_its_own", "auto_map": names}))
    with pytest.raises(InputError, match=r"auto_map in config.json(.|\n)*--trust-remote-code"):
        run(toy, path, limit=1)
    assert not witness.exists()
    evaluation = run(toy, path, limit=1, trust_remote_code=True)
    assert witness.exists()
    assert as_json(evaluation)["trust_remote_code"] is True
    assert {row.remote_code for row in Store(toy / "out").rows()} == {True}


def test_pickled_weights_and_bad_templates_are_refused_in_words(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING, template="{% for m in messages %}{{ m.content | nothing }}{% endfor %}")
    with pytest.raises(InputError, match="the chat template of"):
        run(toy, path)
    path = chain(COUNTING, name="pickled")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled weights"):
        run(toy, path)
    assert not (toy / "out").exists()


def test_results_say_how_they_were_made(toy: Path, chain: ChainMaker) -> None:
    evaluation = run(toy, chain(COUNTING, template="{% for m in messages %}{{ m.content }}{% endfor %}"), max_tokens=7)
    (score,) = json.loads((toy / "out" / "evaluation.json").read_text())["scores"]
    settings = score["settings"]
    assert (settings["max_tokens"], settings["stop"], settings["backend"]) == (7, [], "hf")
    assert (settings["decoding"], settings["dtype"], settings["tensor_parallel"]) == ("greedy", "auto", 1)
    assert len(settings["chat_template"]) == 12
    assert score["grader_versions"]["ours"] == GRADERS["ours"].version()
    assert (score["variant"], score["task_version"]) == ("default", 1)
    assert {row.settings for row in Store(toy / "out").rows()} == {evaluation.scores[0].headline[0].settings}
    longer = run(toy, chain(COUNTING, name="plain"))
    assert longer.scores[0].max_tokens == 40


def test_another_data_type_is_another_response(toy: Path, chain: ChainMaker) -> None:
    path = chain(COUNTING)
    made = [run(toy, path, engine=Engine(dtype=dtype)).generated for dtype in ("auto", "bfloat16", "bfloat16")]
    assert made == [6, 6, 0]
    with pytest.raises(InputError, match="hf runs a model on one device, not on 2"):
        run(toy, path, engine=Engine(tensor_parallel=2))
