"""Dynamic Logits Fusion: the formula, the cache while decoding, and the folder that names the models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gldbench.generate.backend import Sampling
from gldbench.generate.checkpoint import open_checkpoint, require_files
from gldbench.generate.generate import BACKENDS
from gldbench.generate.hf import HFBackend, load
from gldbench.generate.logits_fusion import candidates, fuse_logits, load_experts
from gldbench.methods import METHODS, check_methods
from gldfusion.chat import prompt_ids
from gldfusion.errors import InputError
from gldfusion.model import load_model, load_tokenizer
from tests.gldbench.methods.one_base import A, B, Family, change, spec_of

ALPHAS = [point / 5 for point in range(1, 11)]
PROMPTS = ["What is 3 + 4?", "What is 11 + 1? Say it.", "Hm?"]


def logits(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kl(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum())


def by_hand(pivot: Tensor, experts: list[tuple[Tensor, Tensor]], one_at_a_time: bool) -> tuple[Tensor, float]:
    """One position and two experts: the shifted logits with the smallest objective, and this objective."""
    best = (pivot, float("inf"))
    for first in [0.0, *ALPHAS]:
        for second in [0.0] if one_at_a_time and first else [0.0, *ALPHAS]:
            shifted = pivot + first * (experts[0][0] - experts[0][1]) + second * (experts[1][0] - experts[1][1])
            p, after = pivot.softmax(-1), shifted.softmax(-1)
            found = 0.0
            for other, start in experts:
                q_t, q = other.softmax(-1), start.softmax(-1)
                found += (kl(after, p) - kl(q_t, q)) ** 2 + (kl(p, after) - kl(q, q_t)) ** 2
            if found < best[1]:
                best = (shifted, found)
    return best


@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_the_fused_logits_are_those_of_the_formula(one_at_a_time: bool) -> None:
    pivot, base = logits(3, 4, 9, seed=0), logits(3, 4, 9, seed=1)
    experts = [(logits(3, 4, 9, seed=2), base), (logits(3, 4, 9, seed=3), base)]
    found = fuse_logits(pivot, experts, candidates(ALPHAS, 2, one_at_a_time))
    for row in range(3):
        for place in range(4):
            at = (row, place)
            expected, _ = by_hand(pivot[at], [(tuned[at], start[at]) for tuned, start in experts], one_at_a_time)
            torch.testing.assert_close(found[at], expected, rtol=0, atol=1e-12)
    assert not torch.equal(found, pivot)


def test_the_candidates_are_all_combinations_or_single_experts() -> None:
    every = candidates([0.5, 1.0], 2, one_at_a_time=False)
    assert every[0] == (0.0, 0.0)
    assert sorted(every) == [(a, b) for a in (0.0, 0.5, 1.0) for b in (0.0, 0.5, 1.0)]
    assert [sum(one) for one in every] == sorted(sum(one) for one in every)
    single = candidates([0.5, 1.0], 2, one_at_a_time=True)
    assert sorted(single) == [(0.0, 0.0), (0.0, 0.5), (0.0, 1.0), (0.5, 0.0), (1.0, 0.0)]


def test_a_pivot_that_is_the_base_becomes_the_expert() -> None:
    """Then a factor of 1 gives the expert's own distribution, whose divergences from the base are the wanted ones."""
    base, tuned = logits(7, 9, seed=0), logits(7, 9, seed=1)
    found = fuse_logits(base, [(tuned, base)], candidates(ALPHAS, 1, one_at_a_time=False))
    torch.testing.assert_close(found, tuned, rtol=0, atol=1e-12)


def test_an_expert_that_learned_nothing_changes_nothing() -> None:
    pivot, base = logits(7, 9, seed=0), logits(7, 9, seed=1)
    assert torch.equal(fuse_logits(pivot, [(base, base)], [(0.0,), (1.0,)]), pivot)


def mix_of(world: Path, output: Path, **method: Any) -> Path:
    spec = spec_of(kind="dynamic_logits_fusion", **method)
    METHODS["dynamic_logits_fusion"].check(spec, spec.methods["made"])
    make = METHODS["dynamic_logits_fusion"].make
    return make(spec, spec.methods["made"], world, Path("unread"), 0, output, lambda done, total: None)


@pytest.fixture
def world(family: Family, tmp_path: Path) -> Path:
    """A world whose experts differ clearly from their base. In float32 rounding would choose among similar factors."""
    folder = tmp_path / "world"
    shutil.copytree(family("llama"), folder)
    for seed, name in enumerate((A, B)):
        change(folder / "models" / name, seed + 5, scale=0.15)
    for name in ("pivot", A, B):
        model = load_model(folder / "models" / name, "float64")
        model.save_pretrained(folder / "models" / name)
        (folder / "models" / name / "manifest.json").unlink(missing_ok=True)
    return folder


def greedy(folder: Path, prompt: str, steps: int) -> list[int]:
    """Greedy decoding of one prompt that reads the whole text at every step, without any cache."""
    opened = open_checkpoint(folder)
    assert opened.mix is not None
    pivot = load_model(opened.pivot, "auto")
    experts = load_experts(opened.mix, folder, pivot, False)
    tokenizer = load_tokenizer(opened.pivot)
    ids = prompt_ids(tokenizer, prompt)
    start = len(ids)
    with torch.no_grad():
        for _ in range(steps):
            now = torch.tensor([ids])
            others = {part: model(now).logits[:, -1] for part, model in experts.models.items()}
            ids = [*ids, int(experts.fuse(pivot(now).logits[:, -1], others).argmax())]
            if ids[-1] == tokenizer.eos_token_id:
                break
    return ids[start:]


def test_a_batch_is_decoded_as_its_prompts_are_alone_without_a_cache(world: Path, tmp_path: Path) -> None:
    folder = mix_of(world, tmp_path / "mix")
    backend = BACKENDS["hf"](open_checkpoint(folder), "cpu", 8)
    tokenizer = load_tokenizer(world / "models" / "pivot")
    answers = backend.complete(PROMPTS, 12, [])
    alone = BACKENDS["hf"](open_checkpoint(world / "models" / "pivot"), "cpu", 8).complete(PROMPTS, 12, [])
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = greedy(folder, prompt, 12)
        expected = [token for token in ids if token != tokenizer.eos_token_id]
        assert answer.text == tokenizer.decode(expected, skip_special_tokens=True)
        assert answer.tokens == len(ids)
    assert [answer.text for answer in answers] != [answer.text for answer in alone]


def test_one_expert_on_its_own_base_answers_like_the_expert(world: Path, tmp_path: Path) -> None:
    folder = mix_of(world, tmp_path / "mix", sources=(B,))
    mixed = BACKENDS["hf"](open_checkpoint(folder), "cpu", 8)
    expert = BACKENDS["hf"](open_checkpoint(world / "models" / B), "cpu", 8)
    assert mixed.complete(PROMPTS, 12, []) == expert.complete(PROMPTS, 12, [])
    pairs = [("What is 3 + 4?", " The answer is 7."), ("Hm?", " No.")]
    for ours, theirs in zip(mixed.score(pairs), expert.score(pairs), strict=True):
        assert ours.value == pytest.approx(theirs.value, abs=1e-4)
        assert ours.greedy == theirs.greedy


def test_a_mix_is_identified_by_its_models_and_says_what_it_costs(world: Path, tmp_path: Path) -> None:
    both, one = mix_of(world, tmp_path / "both"), mix_of(world, tmp_path / "one", sources=(A,))
    opened = open_checkpoint(both)
    assert opened.hash != open_checkpoint(one).hash
    assert opened.hash == open_checkpoint(mix_of(world, tmp_path / "again")).hash
    assert opened.chat_template == open_checkpoint(world / "models" / "pivot").chat_template
    costs = [json.loads((folder / "training_totals.json").read_text())["inference_models"] for folder in (both, one)]
    assert costs == [3, 2]
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(world, moved / "world")
    shutil.move(both, moved / "both")
    assert open_checkpoint(moved / "both").hash == opened.hash


def test_a_mix_is_refused_where_it_cannot_run(world: Path, tmp_path: Path) -> None:
    folder = mix_of(world, tmp_path / "mix")
    opened = open_checkpoint(folder)
    backend = HFBackend(opened, load(opened, "cpu"), 8)
    with pytest.raises(InputError, match="decodes greedily"):
        backend.complete(PROMPTS, 4, [], Sampling(1.0, 0))
    change(world / "models" / A, 1)
    with pytest.raises(InputError, match=r"specialist-a has changed since the mix .* was made"):
        open_checkpoint(folder)
    shutil.rmtree(world / "models" / A)
    with pytest.raises(InputError, match=r"specialist-a, which is not there\nmake the mix again"):
        require_files(folder)
    content = json.loads((folder / "mix.json").read_text())
    (folder / "mix.json").write_text(json.dumps(content | {"experts": []}))
    with pytest.raises(InputError, match=r"mix.json is damaged"):
        require_files(folder)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (".", "names ., which is a mix itself"),
        ("nowhere", "names the checkpoint nowhere, which is not there"),
        ("a\0b", "which is not there"),
        ("a" * 5000, "which is not there"),
        (7, r"mix.json: pivot.path: Input should be a valid string \(got 7\)"),
    ],
)
def test_a_mix_that_names_no_checkpoint_is_refused(tmp_path: Path, part: object, message: str) -> None:
    one = {"path": part, "hash": "0"}
    mix = {"mix": 1, "method": "dynamic_logits_fusion", "pivot": one, "alphas": [1.0]}
    (tmp_path / "mix.json").write_text(json.dumps(mix | {"experts": [{"tuned": one, "base": one}]}))
    with pytest.raises(InputError, match=message) as error:
        open_checkpoint(tmp_path)
    assert len(str(error.value).splitlines()) <= 3


def test_a_search_that_would_not_end_is_refused() -> None:
    spec = spec_of(kind="dynamic_logits_fusion", options={"points": 100})
    with pytest.raises(InputError, match="10201 combinations of factors would be tried at each step, at most 5000"):
        check_methods(spec)
    check_methods(spec_of(kind="dynamic_logits_fusion", options={"points": 100, "one_at_a_time": True}))


def test_models_with_another_vocabulary_are_not_mixed(family: Family, tmp_path: Path) -> None:
    world = tmp_path / "world"
    shutil.copytree(family("llama"), world)
    tokenizer = world / "models" / B / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"?":', '"??":'))
    with pytest.raises(InputError, match="specialist-b and the pivot have different vocabularies"):
        mix_of(world, tmp_path / "mix")
    assert not (tmp_path / "mix").exists()
