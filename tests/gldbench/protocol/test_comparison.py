"""A whole comparison on toy models: tuned, stopped, resumed and reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from gldbench.commands.report import show_report
from gldbench.protocol.tuned import read_tuning, take_tuning
from gldbench.report import read_run
from gldbench.run import Machine, run_spec, tuning_folder
from gldbench.spec import in_world, load_spec
from gldbench.store import Store
from gldfusion.errors import InputError

TOY = Path(__file__).parent / "toy.yaml"
SERIAL = Machine(engine="serial")


class Stop:
    """Reports jobs, and stops the run when as many have ended as it is told."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, name: str, done: int, total: int) -> None:
        if done == total == 1:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def silent(name: str, done: int, total: int) -> None:
    """Reports nothing."""


def scores(run: Path) -> list[tuple[Any, ...]]:
    rows = [row for row in Store(run).rows() if row.suite == "world"]
    return sorted((row.subject, row.world_seed, row.item, row.value) for row in rows)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the comparison, which was stopped twice: while it was tuned, and after."""
    run = tmp_path_factory.mktemp("toy") / "toy"
    for after in (9, 45):
        with pytest.raises(KeyboardInterrupt):
            run_spec(load_spec(str(TOY)), run, SERIAL, Stop(after))
    assert read_tuning(run) is not None, "the second stop came after the tuning"
    run_spec(load_spec(str(TOY)), run, SERIAL, silent)
    return run


def test_a_stopped_comparison_goes_on_and_then_has_nothing_left_to_do(whole: Path) -> None:
    before = scores(whole)
    assert run_spec(load_spec(str(TOY)), whole, SERIAL, silent).seconds == {}
    assert scores(whole) == before


def test_the_rows_are_those_of_all_worlds_methods_and_seeds(whole: Path) -> None:
    rows = [row for row in Store(whole).rows() if row.suite == "world"]
    assert {(row.method, row.world_seed, row.seed) for row in rows if row.method.startswith("sft")} == {
        (method, world, seed) for method in load_spec(str(TOY)).methods for world in (3, 4) for seed in (0, 1)
    }
    assert {row.variant for row in rows} == {"test"}
    items = {world: {row.item for row in rows if row.world_seed == world} for world in (3, 4)}
    assert not items[3] & items[4], "items of two worlds are different items"


def test_the_trials_are_on_the_validation_set_of_another_world(whole: Path) -> None:
    spec = load_spec(str(TOY))
    rows = [row for row in Store(tuning_folder(spec, whole)).rows() if row.suite == "world"]
    assert {(row.variant, row.world_seed) for row in rows} == {("validation", 0)}
    tuning = read_tuning(whole)
    assert tuning is not None
    counts = {method: sum(t.method == method for t in tuning.trials) for method in ("sft", "sft+uld", "sft+uld+gld")}
    assert counts == {"sft": 2, "sft+uld": 2, "sft+uld+gld": 2}


def test_another_spec_with_the_same_settings_uses_the_same_trials(whole: Path) -> None:
    spec = load_spec(str(TOY)).model_copy(update={"name": "again", "worlds": (3,)})
    ran = run_spec(spec, whole.with_name("again"), SERIAL, silent)
    assert {name.split()[0] for name in ran.seconds} == {"fuse", "evaluate"}
    assert all("world3" in name for name in ran.seconds), "no trial was made again"


def test_an_arm_with_a_fixed_sample_varies_the_order_only(whole: Path) -> None:
    samples = sorted(path.name for path in (whole / "data").iterdir() if path.suffix == ".jsonl")
    assert samples == [f"fusion-seed{seed}-world{world}.jsonl" for seed in (0, 1) for world in (3, 4)]
    hashes = {
        seed: json.loads((whole / "checkpoints" / f"sft-order-seed{seed}-world3" / "manifest.json").read_text())
        for seed in (0, 1)
    }
    assert hashes[0] != hashes[1]


def test_the_report_shows_gates_worlds_comparisons_and_trials(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_report(whole, True, {})
    found = json.loads(capsys.readouterr().out)
    assert [world["world"] for world in found["gate"]["worlds"]] == [3, 4]
    assert [(d["candidate"], d["baseline"]) for d in found["primary"]] == [
        ("sft+uld", "sft"),
        ("sft+uld+gld", "sft+uld"),
    ]
    text = (whole / "report" / "report.md").read_text()
    for heading in ("## Primary comparisons", "## How weights were chosen", "## World gate"):
        assert heading in text
    assert "At equal FLOPs" in text
    assert found["tuned_weights"] == {"sft+uld": 0, "sft+uld+gld": 0}, "all trials score 0; these two read no source"
    assert [d["candidate"] for d in found["equal_flops"]] == ["sft+kl", "sft+kl-shuffled"]
    steps = [row for row in Store(whole).rows() if row.method == "sft-longer" and row.metric == "learning_rate"]
    assert max(int(row.item) for row in steps) == 5
    assert "stored logits" in text
    assert "| World 3" not in text  # groups are headings of the page only
    page = (whole / "report" / "index.html").read_text()
    assert "World 3: fails" in page
    assert "protocol " in page
    assert read_run(whole).tuning == read_tuning(whole)


def test_a_run_with_many_checkpoints_has_no_page_of_items(
    whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gldbench.commands.report.MOST_CHECKPOINTS", 10)
    show_report(whole, False, {})
    assert "items: no page, because 32 checkpoints are too many for one" in capsys.readouterr().out
    assert "Look at single items" not in (whole / "report" / "index.html").read_text()


def test_a_comparison_in_its_tuning_world_is_refused() -> None:
    with pytest.raises(InputError, match=r"toy with --world-seed 0: tuning.worlds has 0"):
        in_world(load_spec(str(TOY)), 0)
    other = in_world(load_spec(str(TOY)), 9)
    assert (other.name, other.world.seed, other.worlds) == ("toy-world9", 9, ())


def test_weights_are_taken_from_another_run(whole: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(TOY.read_text()) | {"name": "taken", "worlds": [3], "tuning": None, "weights_from": "toy"}
    content["methods"]["sft+kl-own"] = {**content["methods"]["sft+kl"], "tuned": False}  # toy does not have it
    (tmp_path / "taken.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    spec = load_spec(str(tmp_path / "taken.yaml"))
    run_spec(spec, whole.with_name("taken"), SERIAL, silent)
    taken, chosen = read_tuning(whole.with_name("taken")), read_tuning(whole)
    assert taken is not None
    assert chosen is not None
    assert (taken.choices, taken.learning_rate) == (chosen.choices, None)
    show_report(whole, False, {})
    shutil.copytree(whole / "report", tmp_path / "toy")  # such as a committed report, where the run itself is gone
    assert take_tuning(tmp_path, tmp_path / "toy", {"sft+uld"}).choices == {"sft+uld": chosen.choices["sft+uld"]}
    with pytest.raises(InputError, match=r"elsewhere/toy has no tuning.json, from which this spec takes its weights"):
        run_spec(spec, tmp_path / "elsewhere" / "taken", SERIAL, silent)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("sft+uld+gld", {"choices": {"edges": ["graph", "grahp"]}}, r"sft\+uld\+gld.terms.1: .*grahp"),
        ("sft-order", {"like": "sft+uld", "term_options": {"uld": {"temprature": 2}}}, "temprature"),
    ],
)
def test_options_are_checked_before_anything_is_trained(
    tmp_path: Path, method: str, changes: dict[str, Any], message: str
) -> None:
    content = yaml.safe_load(TOY.read_text())
    content["methods"][method] |= changes
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InputError, match=message):
        run_spec(load_spec(str(tmp_path / "toy.yaml")), tmp_path / "run", SERIAL, silent)
    assert not (tmp_path / "worlds").exists()
