"""What a training says while it runs: lines, the growing log, trackers, evaluations, the best checkpoint."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from transformers import AutoModelForCausalLM

from gldfusion import progress
from gldfusion.data import FusionData, read_examples
from gldfusion.errors import InputError
from gldfusion.files import hash_file
from gldfusion.fuse import fuse
from gldfusion.live import data_lines, duration, keep_mlflow_in, step_line
from gldfusion.manifest import verify_manifest
from gldfusion.model import load_tokenizer
from gldfusion.prepare import prepare
from gldfusion.progress import Watch, require_tracker, tracking_folder
from gldfusion.recipe import Recipe

RecipeMaker = Callable[..., Recipe]


class CrashError(Exception):
    """A process that ends in the middle."""


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_every_few_steps(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    lines: list[str] = []
    recipe = make_recipe(steps=5, log_every=2, probe_every=2, max_length=30)
    fuse(recipe, tmp_path / "out", watch=Watch(say=lines.append))
    assert lines[0] == f"5 steps on 1 process, log: {tmp_path / '.out.state' / 'training_log.jsonl'}"
    assert re.fullmatch(r"warning: 10 examples: \d cut at max_length 30, [1-9] dropped because no label .*", lines[1])
    assert re.fullmatch(r"coverage .*: llama \d+\.\d%, qwen2 \d+\.\d%", lines[2])
    assert lines[3] == "texts are packed"
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split(":")[0] for line in steps] == ["step 2 of 5", "step 4 of 5", "step 5 of 5"]
    number = r"[\d.e+-]+"
    terms = rf"sft {number} \+ llama/uld {number} \+ qwen2/uld {number} \+ llama/gld {number} \+ qwen2/gld {number}"
    shares = r"gradient sft \d+%, llama/uld \d+%, qwen2/uld \d+%, llama/gld \d+%, qwen2/gld \d+%"
    speed = rf"learning rate {number}; [\d,]+ tokens/s; \d+ s left"
    assert re.fullmatch(rf"step 2 of 5: loss {number} = {terms}; {shares}; {speed}", steps[0])
    assert lines[-3:-1] == lines[1:3]  # the same at the end
    assert re.fullmatch(r"padding: \d+\.\d% of the places of all batches", lines[-1])
    totals = json.loads((tmp_path / "out" / "training_totals.json").read_text())
    assert lines[-1] == f"padding: {totals['padding_share']:.1%} of the places of all batches"


def test_a_model_that_is_padded_says_so(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    fusion = prepare(make_recipe(packing=False), Accelerator(cpu=True), tmp_path / "out")
    assert "warning: texts are padded, not packed: the recipe turns packing off" in data_lines(fusion)


def test_speed_and_time_left_come_from_the_last_steps() -> None:
    entry = {"step": 30, "loss": 1.0, "terms": {"sft": 1.0}, "learning_rate": 1e-3, "tokens": 5000, "seconds": 100.0}
    since = {"step": 20, "tokens": 4000, "seconds": 80.0}
    line = step_line(entry, since, {}, steps=90)
    assert line == "step 30 of 90: loss 1 = sft 1; learning rate 0.001; 50 tokens/s; 2 min 0 s left"
    assert (duration(8.4), duration(7500)) == ("8 s", "2 h 5 min")


def test_the_log_grows_while_training(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    path = tmp_path / ".out.state" / "training_log.jsonl"
    seen: list[int] = []
    fuse(make_recipe(), tmp_path / "out", lambda done, total: seen.append(len(entries(path))))
    assert seen == [1, 2, 3]
    assert not path.exists()
    assert len(entries(tmp_path / "out" / "training_log.jsonl")) == 3


def test_a_resumed_training_goes_on_with_its_log(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    """Steps after the saved state are run again, and stand in the file once. A torn last line is dropped."""
    recipe, path = make_recipe(steps=6, save_every=2), tmp_path / ".out.state" / "training_log.jsonl"

    def crash(done: int, total: int) -> None:
        if done == 5:
            raise CrashError

    with pytest.raises(CrashError):
        fuse(recipe, tmp_path / "out", crash)
    assert [e["step"] for e in entries(path)] == [1, 2, 3, 4, 5]
    path.write_bytes(path.read_bytes()[:-20])
    seen: list[list[int]] = []
    lines: list[str] = []
    fuse(
        recipe,
        tmp_path / "out",
        lambda done, total: seen.append([e["step"] for e in entries(path)]),
        Watch(say=lines.append),
    )
    assert seen == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]
    assert "resumed after step 4" in lines


class Recorder(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "recorder"
    requires_logging_directory = True

    def __init__(self, run: str, logging_dir: str, **options: Any) -> None:
        super().__init__()
        self.run, self.folder, self.options = run, logging_dir, options
        self.told: list[tuple[int, dict[str, float]]] = []
        self.finished = False
        MADE.append(self)

    @property
    def tracker(self) -> Any:
        return self

    def start(self) -> None: ...

    def store_init_configuration(self, values: dict[str, Any]) -> None: ...

    def log(self, values: dict[str, float], step: int | None = None, **kwargs: Any) -> None:
        self.told.append((step or 0, values))

    def finish(self) -> None:
        self.finished = True


MADE: list[Recorder] = []


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """Accelerate's TensorBoard tracker is replaced by `Recorder`."""
    from accelerate import tracking
    from accelerate.utils import LoggerType

    MADE.clear()
    monkeypatch.setattr(progress, "installed", lambda name: True)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "tensorboard", Recorder)
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.TENSORBOARD])
    return MADE


def test_a_tracker_hears_every_step_once(make_recipe: RecipeMaker, tmp_path: Path, stand_in: list[Recorder]) -> None:
    recipe = make_recipe(steps=4, save_every=2, probe_every=2)

    def crash(done: int, total: int) -> None:
        if done == 3:
            raise CrashError

    watch = Watch(tracker="tensorboard")
    with pytest.raises(CrashError):
        fuse(recipe, tmp_path / "out", crash, watch)
    fuse(recipe, tmp_path / "out", watch=watch)
    first, second = stand_in
    assert first.run == "test"
    assert Path(first.folder) == tracking_folder(tmp_path / "out") == tmp_path / "out.tracking"
    assert [step for step, _ in first.told] == [1, 2, 3]
    assert [step for step, _ in second.told] == [3, 4]
    assert second.options == {"purge_step": 3}  # TensorBoard drops step 3 of the first process
    assert {"loss", "learning_rate", "tokens", "padding", "terms/sft", "gradient_share/sft"} <= first.told[0][1].keys()
    assert first.finished
    assert second.finished


def test_a_tracker_that_fails_is_told(
    make_recipe: RecipeMaker, tmp_path: Path, stand_in: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tracker: Recorder) -> None:
        raise RuntimeError("incompatible versions\nof another package")

    monkeypatch.setattr(Recorder, "start", broken)
    with pytest.raises(
        InputError, match=r"did not start \(RuntimeError: incompatible .*\)\nmend it, or give --tracker"
    ):
        fuse(make_recipe(), tmp_path / "out", watch=Watch(tracker="tensorboard"))
    assert not (tmp_path / "out").exists()


def test_mlflow_writes_beside_the_output_unless_a_server_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setitem(sys.modules, "mlflow", cast(Any, SimpleNamespace(set_tracking_uri=told.append)))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    keep_mlflow_in(tmp_path)
    assert told == [f"sqlite:///{tmp_path}/mlflow.db"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    keep_mlflow_in(tmp_path)
    assert len(told) == 1


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda package: None)
    with pytest.raises(
        InputError, match=f"the tracker {name} needs the package {name}\ninstall it: pip install {name}"
    ):
        require_tracker(name)
    with pytest.raises(InputError, match=r'no tracker is called "wand" \(did you mean "wandb"\?\)'):
        require_tracker("wand")


def test_validation_loss_is_the_mean_over_all_labels(
    make_recipe: RecipeMaker, data_file: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    recipe = make_recipe(steps=4, evaluate_every=2, validation=data_file, learning_rate=1e-30, warmup=1.0)
    log = entries(fuse(recipe, tmp_path / "out") / "training_log.jsonl")
    measured = [entry["validation"]["loss"] for entry in log if "validation" in entry]
    model: Any = AutoModelForCausalLM.from_pretrained(models["pivot"])
    data = FusionData.of(read_examples(data_file), load_tokenizer(models["pivot"]), 128, [])
    nll, labels = 0.0, 0
    for text in data.encoded:
        with torch.no_grad():
            said = model(torch.tensor([text.ids])).logits[0].log_softmax(-1)
        nll -= sum(float(said[place - 1, text.ids[place]]) for place in text.labelled)
        labels += len(text.labelled)
    assert measured == pytest.approx([nll / labels] * 2, rel=1e-4)


def test_an_evaluation_changes_no_weights(make_recipe: RecipeMaker, data_file: Path, tmp_path: Path) -> None:
    plain = fuse(make_recipe(steps=4), tmp_path / "plain")
    watched = fuse(
        make_recipe(steps=4, evaluate_every=1, validation=data_file, log_every=1),
        tmp_path / "watched",
        watch=Watch(say=lambda line: None, evaluate=lambda folder: {"toy": 0.5}),
    )
    assert hash_file(plain / "model.safetensors") == hash_file(watched / "model.safetensors")


def test_the_best_checkpoint_is_kept(make_recipe: RecipeMaker, data_file: Path, tmp_path: Path) -> None:
    """The scores of the tasks decide; the crash comes after the best evaluation and before it is saved."""
    scores = {1: 0.2, 2: 0.8, 3: 0.8, 4: 0.1}
    seen: dict[int, str] = {}
    lines: list[str] = []

    def score(folder: Path) -> Mapping[str, float]:
        step = int(folder.name.removeprefix("evaluated-"))
        assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "phi3"
        seen[step] = hash_file(folder / "model.safetensors")
        return {"toy": scores[step]}

    def crash(done: int, total: int) -> None:
        if done == 2:
            raise CrashError

    recipe = make_recipe(steps=4, evaluate_every=1, validation=data_file, save_every=1)
    watch = Watch(say=lines.append, evaluate=score)
    with pytest.raises(CrashError):
        fuse(recipe, tmp_path / "out", crash, watch)
    output = fuse(recipe, tmp_path / "out", watch=watch)
    assert hash_file(output / "best" / "model.safetensors") == seen[2] != seen[4]
    assert hash_file(output / "model.safetensors") == seen[4]
    found = json.loads((output / "best" / "evaluation.json").read_text())
    assert found["step"] == 2
    assert found["scores"]["toy"] == 0.8
    assert [entry["best"] for entry in entries(output / "training_log.jsonl")] == [True, True, False, False]
    assert any(re.fullmatch(r"step 2: validation loss [\d.]+, toy 0.8 \(the best so far\)", line) for line in lines)
    for folder in (output, output / "best"):
        verify_manifest(folder, "checkpoint", "mend")
    assert not (tmp_path / ".out.state").exists()


def test_without_tasks_the_lowest_validation_loss_is_the_best(
    make_recipe: RecipeMaker, data_file: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(steps=6, evaluate_every=1, validation=data_file, learning_rate=0.1)
    output = fuse(recipe, tmp_path / "out")
    losses = [entry["validation"]["loss"] for entry in entries(output / "training_log.jsonl")]
    found = json.loads((output / "best" / "evaluation.json").read_text())
    assert found["step"] == 1 + losses.index(min(losses))
    assert found["scores"]["loss"] == min(losses)
