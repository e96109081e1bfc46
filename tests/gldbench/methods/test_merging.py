"""Merged weights are those of the formulas, in float64, and the merged checkpoint says how it was made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gldbench.methods import METHODS, check_methods
from gldbench.methods.fisher import fisher, weighted_average
from gldbench.methods.soup import average
from gldbench.methods.weights import parameters, read_alike
from gldfusion.data import read_examples
from gldfusion.errors import InputError
from gldfusion.manifest import verify_manifest
from gldfusion.model import load_model, load_tokenizer
from gldfusion.sources import encode_example
from tests.gldbench.methods.one_base import TOKENIZERS, A, B, Family, change, spec_of

Weights = dict[str, torch.Tensor]


def needs_mergekit(test: Callable[..., None]) -> Callable[..., None]:
    """Skips a test where mergekit is not installed. mergekit imports a part of numpy that numpy renames."""
    skipped = pytest.mark.skipif(find_spec("mergekit") is None, reason="mergekit is not installed")(test)
    return pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning")(skipped)


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def made(world: Path, data: Path, output: Path, architecture: str = "llama", seed: int = 0, **method: Any) -> Path:
    spec = spec_of(architecture, **method)
    check_methods(spec)
    make = METHODS[method["kind"]].make
    return make(spec, spec.methods["made"], world, data, seed, output, lambda done, total: None)


def models(world: Path) -> tuple[Weights, Weights, Weights]:
    return (
        weights(world / "models" / "pivot"),
        weights(world / "models" / A),
        weights(world / "models" / B),
    )


def assert_equal(found: Weights, expected: Weights, tolerance: float = 1e-7) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name].double(), expected[name].double(), rtol=0, atol=tolerance)


def test_a_soup_is_the_weighted_mean(family: Family, data: Path, tmp_path: Path) -> None:
    world = family("llama")
    _, a, b = models(world)
    output = made(world, data, tmp_path / "soup", kind="soup", options={"weights": {A: 3, B: 1}})
    assert_equal(weights(output), {name: 0.75 * a[name].double() + 0.25 * b[name].double() for name in a})


def test_a_merged_checkpoint_says_how_it_was_made(family: Family, data: Path, tmp_path: Path) -> None:
    output = made(family("llama"), data, tmp_path / "soup", kind="soup")
    verify_manifest(output, "merged checkpoint", "make it again")
    record = json.loads((output / "fusion.json").read_text())
    assert record["method"] == {"kind": "soup", "shares": {A: 0.5, B: 0.5}}
    assert set(record["parts"]) == {A, B}
    assert all(len(digest) == 64 for digest in record["parts"].values())
    assert "0.5 x `specialist-a`, 0.5 x `specialist-b`" in (output / "README.md").read_text()
    totals = json.loads((output / "training_totals.json").read_text())
    assert totals["inference_models"] == 1
    assert totals["seconds"] > 0
    assert load_tokenizer(output).chat_template == load_tokenizer(family("llama") / "models" / A).chat_template


@needs_mergekit
@pytest.mark.parametrize("architecture", TOKENIZERS)
def test_the_soup_of_mergekit_is_ours_to_rounding(
    family: Family, data: Path, tmp_path: Path, architecture: str
) -> None:
    world, chosen = family(architecture), {"weights": {A: 3.0, B: 1.0}}
    ours = made(world, data, tmp_path / "ours", architecture, kind="soup", options=chosen)
    theirs = made(world, data, tmp_path / "theirs", architecture, kind="merge", options={"method": "linear"} | chosen)
    assert_equal(weights(theirs), weights(ours), 2e-7)


def ties(base: torch.Tensor, others: list[torch.Tensor], density: float) -> torch.Tensor:
    """TIES with equal weights, each tensor trimmed by itself: trim, elect the sign, average those that agree."""
    deltas = []
    for other in others:
        delta = (other - base).flatten()
        kept = delta.abs().argsort(descending=True)[: max(1, int(density * len(delta)))]
        deltas.append(torch.zeros_like(delta).index_copy(0, kept, delta[kept]))
    stacked = torch.stack(deltas)
    sign = torch.where(stacked.sum(0) >= 0, 1, -1)
    agree = stacked.sign() == sign
    count = agree.sum(0).clamp(min=1)
    return base + ((stacked * agree).sum(0) / count).view(base.shape)


@needs_mergekit
def test_ties_of_mergekit_is_the_formula(family: Family, data: Path, tmp_path: Path) -> None:
    world = family("llama")
    base, a, b = models(world)
    output = made(world, data, tmp_path / "ties", kind="merge", options={"method": "ties", "density": 0.3})
    assert_equal(weights(output), {name: ties(base[name], [a[name], b[name]], 0.3) for name in base}, 1e-6)


@needs_mergekit
def test_dare_draws_by_its_seed_and_keeps_the_density(family: Family, data: Path, tmp_path: Path) -> None:
    world = family("llama")
    base, _, _ = models(world)
    options = {"method": "dare_ties", "density": 0.1}
    first, again, other = (
        weights(made(world, data, tmp_path / name, seed=seed, kind="merge", options=options))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert_equal(first, again, 0.0)
    changed = torch.cat([(first[name] != base[name]).flatten() for name in base]).double().mean().item()
    assert changed == pytest.approx(1 - 0.9**2, abs=0.02)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    fixed = made(world, data, tmp_path / "fixed", seed=1, kind="merge", options=options | {"seed": 0})
    assert_equal(weights(fixed), first, 0.0)


def test_equal_fishers_give_the_soup(family: Family) -> None:
    folders = {name: family("llama") / "models" / name for name in (A, B)}
    shares = {A: 0.7, B: 0.3}
    generator = torch.Generator().manual_seed(5)
    read, _ = read_alike(folders)
    one = {key: torch.rand(p.shape, generator=generator).double() for key, p in parameters(read[A]).items()}
    merged = parameters(weighted_average(read, dict.fromkeys(shares, one), shares, 1e-6))
    soup = parameters(average(read_alike(folders)[0], shares))
    for key in soup:
        torch.testing.assert_close(merged[key], soup[key], rtol=0, atol=1e-7)


def test_an_entry_comes_from_the_model_that_alone_has_information_on_it(family: Family) -> None:
    folders = {name: family("llama") / "models" / name for name in (A, B)}
    read, _ = read_alike(folders)
    b = {key: value.detach().clone() for key, value in parameters(read[B]).items()}
    zero = {key: torch.zeros(value.shape).double() for key, value in b.items()}
    one = {key: torch.ones(value.shape).double() for key, value in b.items()}
    merged = weighted_average(read, {A: zero, B: one}, {A: 0.5, B: 0.5}, 1e-9)
    for key, value in parameters(merged).items():
        torch.testing.assert_close(value, b[key], rtol=0, atol=1e-8)


def test_the_fisher_information_is_the_mean_of_squared_gradients_of_single_examples(family: Family, data: Path) -> None:
    """Compared with a difference quotient of each example's log-probability, in float64."""
    folder = family("llama") / "models" / A
    model, tokenizer = load_model(folder, dtype=torch.float64), load_tokenizer(folder)
    encoded = [encode_example(tokenizer, example, 256) for example in read_examples(data)[:3]]
    found = fisher(model, encoded, lambda done, total: None)

    def log_probability(place: int) -> float:
        ids = torch.tensor([encoded[place].ids])
        rows = model(input_ids=ids).logits[0].log_softmax(-1)
        labels = encoded[place].labelled
        return float(sum(rows[at - 1, ids[0, at]] for at in labels))

    step, checked = 1e-3, 0  # a smaller step meets the float32 norms of the model
    with torch.no_grad():
        for key, parameter in parameters(model).items():
            flat = parameter.view(-1)
            at = int(found[key].argmax())
            squares = []
            for place in range(3):
                flat[at] += step
                above = log_probability(place)
                flat[at] -= 2 * step
                below = log_probability(place)
                flat[at] += step
                squares.append(((above - below) / (2 * step)) ** 2)
            expected = sum(squares) / 3
            assert found[key].view(-1)[at].item() == pytest.approx(expected, rel=0.01)
            checked += expected > 0
    assert checked > 5


def test_fisher_is_made_from_the_data_and_counts_its_cost(family: Family, data: Path, tmp_path: Path) -> None:
    world = family("llama")
    output = made(world, data, tmp_path / "fisher", kind="fisher", options={"examples": 4})
    _, a, b = models(world)
    found = weights(output)
    for name in found:
        low, high = torch.minimum(a[name], b[name]), torch.maximum(a[name], b[name])
        assert ((found[name] >= low - 1e-6) & (found[name] <= high + 1e-6)).all(), name
    assert any((found[name] - (a[name] + b[name]) / 2).abs().max() > 1e-3 for name in found)
    totals = json.loads((output / "training_totals.json").read_text())
    assert totals["tokens"] > 0
    assert totals["flops"] > totals["tokens"]


@pytest.mark.parametrize("kind", ["soup", "fisher"])
def test_models_that_differ_are_refused(family: Family, data: Path, tmp_path: Path, kind: str) -> None:
    world = tmp_path / "world"
    shutil.copytree(family("llama"), world)
    file = world / "models" / B / "model.safetensors"
    held = load_file(file)
    tokenizer = world / "models" / B / "tokenizer.json"
    text = tokenizer.read_text()
    tokenizer.write_text(text.replace('"?":', '"??":'))
    with pytest.raises(InputError, match="-a and specialist-b cannot be merged: they have different vocabularies"):
        made(world, data, tmp_path / "out", kind=kind)
    tokenizer.write_text(text)
    narrow = json.loads((world / "models" / B / "config.json").read_text())
    (world / "models" / B / "config.json").write_text(json.dumps(narrow | {"intermediate_size": 40}))
    rows = {k: v[:40] if "up_proj" in k or "gate_proj" in k else v for k, v in held.items()}
    save_file({k: v[:, :40].contiguous() if "down_proj" in k else v for k, v in rows.items()}, file)
    with pytest.raises(InputError, match=r"they have the weight .*_proj.weight of shapes"):
        made(world, data, tmp_path / "out", kind=kind)
    shutil.rmtree(world / "models" / B)
    shutil.copytree(family("gpt_neox") / "models" / B, world / "models" / B)
    with pytest.raises(InputError, match="the architectures llama and gpt_neox"):
        made(world, data, tmp_path / "out", kind=kind)
    assert not (tmp_path / "out").exists()


def test_changed_experts_change_the_soup(family: Family, data: Path, tmp_path: Path) -> None:
    world = tmp_path / "world"
    shutil.copytree(family("llama"), world)
    before = weights(made(world, data, tmp_path / "before", kind="soup"))
    change(world / "models" / B, 9)
    after = weights(made(world, data, tmp_path / "after", kind="soup"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
