"""The bench `along_training`: its values equal those of other code, and training does not depend on it."""

from __future__ import annotations

import itertools
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from gldbench.benches import along_training
from gldbench.benches.along_training import built, chosen_spec, moments_of, watched
from gldbench.benches.graph_facts import gradient_at, signal
from gldbench.benches.measure_pivot import Distance, distance, gradients, measure_pivot, read_pivot, read_texts
from gldbench.benches.write_along_training import as_markdown
from gldbench.methods.train import recipe_of
from gldbench.protocol.arms import Choice
from gldbench.protocol.tuned import Tuning, write_tuning
from gldbench.spec import Spec, load_spec
from gldbench.worlds.build import fusion_sample, read_set, world_folder
from gldfusion.fuse import fuse
from gldfusion.losses import make_loss
from gldfusion.model import load_tokenizer, quiet
from gldfusion.sources import Example, encode_example
from tests.gldbench.benches.plain_losses import kl, norm_of_gld, norm_of_mean, uld

MINI = Path(__file__).parents[1] / "mini.yaml"
ARMS = ("sft+uld+gld", "sft+kl")
TEXTS = 2
K = 6


def silent(name: str, done: int, total: int) -> None:
    """Hears the progress."""


@pytest.fixture(scope="module")
def spec_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec `mini` with one source and one model with the pivot's tokenizer."""
    content = yaml.safe_load(MINI.read_text())
    del content["world"]["sources"]["source-b"]
    path = tmp_path_factory.mktemp("spec") / "mini.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def spec(spec_file: Path) -> Spec:
    return load_spec(str(spec_file))


@pytest.fixture(scope="module")
def worlds(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    with quiet():
        built(spec, folder, 1, silent)
    return folder


@pytest.fixture
def world(spec: Spec, worlds: Path) -> Path:
    return world_folder(spec.world, worlds)


@pytest.fixture(scope="module")
def output(spec_file: Path, worlds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a small run of the bench wrote."""
    folder = tmp_path_factory.mktemp("rows")
    sizes = ["--moments", "3", "--sequences", str(TEXTS)]
    given = ["--spec", str(spec_file), "--worlds", str(worlds), "--arms", *ARMS, *sizes, "--output", str(folder)]
    assert along_training.main(given) == 0
    return folder


@pytest.fixture
def rows(output: Path) -> pd.DataFrame:
    return pd.read_csv(output / "along_training.csv")


def plain_logits(world: Path, model: str, example: Example) -> Tensor:
    """All logits [T, V] of a model of the world that predict the response, without gldfusion's model or losses."""
    path = world / "models" / model
    encoded = encode_example(load_tokenizer(path), example, 256)
    with quiet(), torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(path)(torch.tensor([encoded.ids])).logits[0]
    return logits[encoded.predicting].double()


def chosen_examples(world: Path) -> list[Example]:
    """The first text of the validation set and the one in its middle, which are those that the bench takes."""
    found = read_set(world, "validation")
    return [Example(one.id, one.prompt, one.response) for one in (found[0], found[len(found) // 2])]


def graph(logits: Tensor, values: str) -> np.ndarray:
    """C on rank nodes, the mean over the positions."""
    top = logits.topk(K).values
    z = (top - logits.logsumexp(-1, keepdim=True) if values == "logprob" else top).numpy()
    return z.T @ z / len(z)


def mean_of(rows: pd.DataFrame, **where: object) -> float:
    chosen = rows
    for name, value in where.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1, where
    return float(chosen["value"].iloc[0])


@pytest.mark.parametrize("values", ["logprob", "raw"])
def test_distances_equal_a_search_over_all_matchings(values: str, world: Path, rows: pd.DataFrame) -> None:
    found: dict[str, list[float]] = {"ggw_sum": [], "GW_1": [], "GW_2^2": []}
    for example in chosen_examples(world):
        c, d = (graph(plain_logits(world, name, example), values) for name in ("pivot", "source-a"))
        found["ggw_sum"].append(float(np.abs(np.sort(c.mean(1)) - np.sort(d.mean(1))).sum()))
        gaps = [c - d[np.ix_(order, order)] for order in itertools.permutations(range(K))]
        found["GW_1"].append(min(float(np.abs(gap).mean()) for gap in gaps))
        found["GW_2^2"].append(min(float(np.square(gap).mean()) for gap in gaps))
    key = {"task": "distance", "method": "pivot", "variant": "source-a", "subject": values}
    assert mean_of(rows, **key, metric="ggw_sum") == pytest.approx(np.mean(found["ggw_sum"]), rel=1e-5)
    for form in ("GW_1", "GW_2^2"):
        low, high = (mean_of(rows, **key, metric=f"{form} {end}") for end in ("lower", "upper"))
        assert low <= high
        assert (low, high) == pytest.approx((np.mean(found[form]), np.mean(found[form])), rel=1e-5)
    gap = np.mean(found["ggw_sum"]) - np.mean(np.sqrt(found["GW_2^2"]))
    assert mean_of(rows, **key, metric="ggw_sum from GW_2") == pytest.approx(gap, rel=1e-4)
    assert mean_of(rows, **key, metric="ggw_sum inside GW_2") == 0


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize(
    ("name", "source"), [("gld", "source-a"), ("gld", "control"), ("uld", "control"), ("kl", "control")]
)
def test_gradient_norms_equal_differences_of_a_formula(
    name: str, source: str, noise: float, world: Path, rows: pd.DataFrame
) -> None:
    key = {"task": "gradient", "method": "pivot", "variant": f"{source} noise={noise:g}", "subject": name}
    plain = {"gld": norm_of_gld, "uld": partial(norm_of_mean, uld), "kl": partial(norm_of_mean, kl)}[name]
    norms = []
    for number, example in enumerate(chosen_examples(world)):
        x, y = (plain_logits(world, model, example) for model in ("pivot", source))
        e = torch.randn(1, *x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(number))[0]
        norms.append(plain((x + noise * e).numpy(), y.numpy(), K))
    assert mean_of(rows, **key, metric="mean") == pytest.approx(np.mean(norms), rel=1e-3)
    assert mean_of(rows, **key, metric="largest") == pytest.approx(max(norms), rel=1e-3)


def test_the_distance_is_the_loss_of_a_training(world: Path, spec: Spec) -> None:
    texts = read_texts(world, ["source-a"], K, spec.fusion.train.max_length, TEXTS)
    logits, _ = read_pivot(world / "models" / "pivot", texts)
    for one, batch in zip(logits, texts.batches, strict=True):
        pivot, source = signal(one, K), batch.sources["source-a"][0]
        for values in ("logprob", "raw"):
            loss = make_loss("gld", {"values": values})(pivot, source, None)
            assert distance(pivot, source, values).ggw["ggw_sum"] == pytest.approx(float(loss), rel=1e-9)


def test_a_change_is_relative_to_the_noise(world: Path, spec: Spec) -> None:
    texts = read_texts(world, ["control"], K, spec.fusion.train.max_length, 1)
    logits, _ = read_pivot(world / "models" / "pivot", texts)
    found = gradients(logits, texts, "control")
    e = 0.1 * torch.randn(logits[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss, read = make_loss("kl"), texts.batches[0].sources["control"]
    moved = gradient_at(logits[0] + e, K, *read, loss) - gradient_at(logits[0], K, *read, loss)
    assert found["change", "control noise=0.1", "kl", "largest"] == pytest.approx(float(moved.norm() / e.norm()))


def test_a_gap_is_signed_and_0_inside() -> None:
    ends = {"GW_1": (1.0, 2.0)}
    gaps = [Distance({"ggw_mean": value}, ends).gap("GW_1", "ggw_mean") for value in (0.25, 1.5, 3.0, 2.0 + 1e-12)]
    assert gaps == [-0.75, 0.0, 1.0, 0.0]


def test_every_moment_of_every_training_is_measured(rows: pd.DataFrame) -> None:
    measured = rows[rows["task"] == "distance"]
    steps = {method: sorted(part["item"].unique()) for method, part in measured.groupby("method", sort=False)}
    assert steps == {"pivot": [0]} | {arm: [3, 6] for arm in ARMS}
    assert set(measured["variant"]) == {"source-a", "control"}
    assert set(rows[rows["subject"] == "kl"]["variant"]) == {
        f"control noise={x}" for x in ("0", "0.1", "0.3", "1", "3")
    } | {"training"}
    assert rows["value"].notna().all()
    assert (rows["suite"] == "along_training").all()


@pytest.mark.parametrize(
    ("count", "expected"), [(2, [0, 6]), (3, [0, 3, 6]), (4, [0, 2, 4, 6]), (5, [0, 2, 4, 6]), (20, [*range(7)])]
)
def test_moments_are_spread_evenly(count: int, expected: list[int], world: Path, spec: Spec) -> None:
    recipe = recipe_of(spec, spec.methods["sft"], world, MINI, 0, "sft")
    assert moments_of(recipe, 100, count) == expected


def test_a_watched_training_makes_the_same_checkpoint(world: Path, spec: Spec, tmp_path: Path) -> None:
    data = fusion_sample(world, 0, 40, tmp_path / "fusion.jsonl")
    recipe = recipe_of(spec, spec.methods["sft+uld+gld"], world, data, 0, "sft+uld+gld")
    texts = read_texts(world, ["source-a"], K, spec.fusion.train.max_length, 1)
    with quiet():
        found = watched(recipe, [0, 3, 6], texts, tmp_path / "watched", silent)
        fuse(recipe, tmp_path / "plain")
    watched_weights, weights = (load_file(tmp_path / name / "model.safetensors") for name in ("watched", "plain"))
    assert all(torch.equal(watched_weights[name], weights[name]) for name in weights)
    assert found[-1] == measure_pivot(tmp_path / "plain", texts)
    assert found[0] != found[-1]


def test_the_report_is_a_function_of_the_rows(output: Path, rows: pd.DataFrame) -> None:
    text = (output / "along_training.md").read_text()
    assert (output / "along_training.png").stat().st_size > 1000
    environment = {"dirty": False, "env_id": "made-up", "commit": "abc"}
    assert "The largest norms over the texts have these orders: " in text
    assert "commit abc." in as_markdown(rows, "mini", environment, "a.png")
    order = rows["subject"].map({"gld": 1.0, "uld": 2.0, "kl": 3.0})
    other = rows.assign(value=rows["value"].where((rows["task"] != "gradient"), order))
    assert "these orders: gld < uld < kl in 25." in as_markdown(other, "mini", environment, "a.png")


def weights_of(spec: Spec) -> dict[str, list[tuple[str, float]]]:
    arms = ("sft", "sft+uld+gld", "sft+kl")
    return {arm: [(term.loss, term.weight) for term in spec.methods[arm].terms] for arm in arms}


def test_a_run_gives_its_tuned_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_tuning(run, Tuning(0.004, {"sft+uld": Choice(3.0), "sft+uld+gld": Choice(0.03)}, ()))
    shared = {"spec": "compare", "world_seed": None, "arms": ("sft", "sft+uld+gld", "sft+kl"), "steps": 5}
    spec = chosen_spec(Namespace(**shared, tuned_by=run, weight=()))
    assert weights_of(spec) == {"sft": [], "sft+uld+gld": [("uld", 3.0), ("gld", 0.03)], "sft+kl": [("kl", 0.5)]}
    assert (spec.fusion.train.learning_rate, spec.fusion.train.steps, spec.world.seed) == (0.004, 5, 10)
    spec = chosen_spec(Namespace(**shared, tuned_by=run, weight=("sft+uld=0.5",)))
    assert weights_of(spec)["sft+uld+gld"] == [("uld", 0.5), ("gld", 0.03)]
    spec = chosen_spec(Namespace(**shared, tuned_by=None, weight=("sft+uld+gld=0.01",)))
    assert weights_of(spec)["sft+uld+gld"] == [("uld", 1.0), ("gld", 0.01)]


def test_more_texts_than_the_validation_set_has_are_refused(
    spec_file: Path, worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--spec", str(spec_file), "--worlds", str(worlds), "--arms", *ARMS, "--sequences", "1000"]
    assert along_training.main([*given, "--output", str(tmp_path)]) == 2
    assert "--sequences: expected at most 28, the number of texts in the validation set" in capsys.readouterr().err
    assert not list(tmp_path.glob("*"))
