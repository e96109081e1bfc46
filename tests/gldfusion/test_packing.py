"""Packed rows: the same losses and gradients as padded rows, little padding, and work that is dealt evenly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from gldfusion import padding
from gldfusion.align import Encoded
from gldfusion.dealing import deal, even_out, share_step
from gldfusion.errors import InputError
from gldfusion.files import atomic_dir
from gldfusion.fuse import fuse
from gldfusion.inputs import collate
from gldfusion.model import SignalModel, quiet
from gldfusion.packing import DEARER, PADDING, Packer, packer_of, reason_to_pad
from gldfusion.padding import padding_shares
from gldfusion.prefetch import prefetch
from gldfusion.prepare import Fusion, prepare
from gldfusion.recipe import Recipe, SourceSpec, TermSpec, TrainSpec

RecipeMaker = Callable[..., Recipe]
CPU = torch.device("cpu")
SIZE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PACKED: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt_neox": {},
    "mistral": {"sliding_window": 4, "head_dim": 16},
    "stablelm": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "qwen3": {"head_dim": 16},
}
"""rotary (whole and partial) and learned positions, sliding windows"""
FLOAT32_ONLY = {"mixtral": {"num_local_experts": 2}, "gemma2": {"sliding_window": 4, "head_dim": 16}}
"""transformers does not run these in float64: experts, capped scores"""
PADDED: dict[str, tuple[dict[str, Any], str]] = {
    "mamba": ({"state_size": 4}, "takes no positions"),
    "bloom": ({"n_layer": 2, "n_head": 2}, "takes no positions"),
    "opt": ({"ffn_dim": 48, "word_embed_proj_dim": 32}, "outputs on packed texts differ"),
    "falcon": ({"alibi": False}, "outputs on packed texts differ"),
    "recurrent_gemma": ({"head_dim": 16}, "outputs on packed texts differ"),
}
"""a state space, alibi, positions counted from the attention mask, its own mask, a recurrence"""
TERMS = [
    ("uld", {}), ("uld_topk", {}), ("gld", {}), ("gld", {"nodes": "vocab", "values": "raw", "distance": "flb"}),
    ("minced", {}), ("kl", {}), ("gkd", {}), ("gld_local", {}), ("alm", {}), ("gold", {}), ("shared_kd", {}),
    ("xtoken", {}), ("xtoken", {"form": "hkl"}),
]  # fmt: skip


def tiny(kind: str, extra: dict[str, Any], vocabulary: int = 97) -> Any:
    """A random model of a class, whose logits are well spread."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **SIZE | {"vocab_size": vocabulary} | extra)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(15)
    return model


@pytest.mark.parametrize("kind", PACKED | FLOAT32_ONLY)
def test_models_that_can_pack_are_packed(kind: str) -> None:
    assert reason_to_pad(SignalModel(tiny(kind, (PACKED | FLOAT32_ONLY)[kind]), 5), CPU) is None


@pytest.mark.parametrize("kind", PADDED)
def test_models_that_cannot_pack_are_padded(kind: str) -> None:
    extra, reason = PADDED[kind]
    model = SignalModel(tiny(kind, extra), 5)
    assert reason in str(reason_to_pad(model, CPU))
    assert packer_of(model, reason) is None


def test_a_model_whose_texts_see_each_other_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here transformers does not separate the texts: positions restart, but the attention reaches back."""
    model = SignalModel(tiny("llama", {}), 5)
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda position_ids: None)
    assert "outputs on packed texts differ" in str(reason_to_pad(model, CPU))


def test_a_model_that_fails_on_packed_texts_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SignalModel(tiny("llama", {}), 5)

    def fails(position_ids: torch.Tensor) -> None:
        raise ValueError("no packed texts\nhere")

    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", fails)
    assert str(reason_to_pad(model, CPU)).startswith("it fails on packed texts (ValueError: no packed texts")


def in_double(fusion: Fusion, texts: list[int]) -> tuple[list[float], torch.Tensor, int]:
    """All terms of these texts, the gradient of their sum, and the number of rows."""
    batch = fusion.data.batch(texts)
    counts = fusion.loss.counts([batch])
    values = fusion.loss.values(fusion.model(batch.inputs), batch.sources, counts)
    parameters = [p for p in fusion.model.parameters() if p.requires_grad]
    found = torch.autograd.grad(torch.stack(values).sum(), parameters, allow_unused=True, materialize_grads=True)
    return [v.item() for v in values], torch.cat([g.flatten() for g in found]), len(batch.inputs.input_ids)


@pytest.mark.parametrize("kind", PACKED)
def test_a_packed_batch_has_the_losses_and_gradients_of_the_padded_one(
    make_recipe: RecipeMaker, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """In float64, with every loss. The unit of gld is one response, however many responses a row holds."""
    tokenizer = AutoTokenizer.from_pretrained(models["pivot"])
    with atomic_dir(tmp_path / kind) as folder, quiet():
        tiny(kind, PACKED[kind], len(tokenizer)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    terms_of = tuple(TermSpec(loss=name, weight=1, options=options) for name, options in TERMS)
    twin = SourceSpec(name="twin", checkpoint=models["twin"])
    recipe = make_recipe(pivot=tmp_path / kind, sources=(twin,), terms=terms_of)
    fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / "out")
    assert fusion.unpacked is None
    fusion.model.double()
    read = {s.name: s.read for s in fusion.data.sources}
    kept = {e.key: signal for e, signal in zip(fusion.data.examples, read["twin"](fusion.data.examples), strict=True)}
    for source in fusion.data.sources:  # the same signals for both layouts: only the pivot is compared
        source.read = lambda examples: [kept[e.key] for e in examples]  # pyright: ignore[reportAttributeAccessIssue]
    packed_terms, packed_gradient, packed_rows = in_double(fusion, list(range(10)))
    fusion.data.packer = None
    terms, gradient, rows = in_double(fusion, list(range(10)))
    assert packed_rows < rows == 10
    assert packed_terms == pytest.approx(terms, rel=1e-9, abs=1e-9)
    assert min(abs(term) for term in terms) > 1e-6
    assert float((packed_gradient - gradient).abs().max()) < 1e-9 * float(gradient.abs().max())


def test_rows_do_not_mix_up_labels() -> None:
    texts = [Encoded([5, 6, 7, 8], 2, [0, 1], False), Encoded([9], 1, [], True), Encoded([1, 2, 3], 1, [0, -1], False)]
    inputs = collate(texts, [[0, 2], [1]])
    assert inputs.input_ids.tolist() == [[5, 6, 7, 8, 1, 2, 3], [9, 0, 0, 0, 0, 0, 0]]
    assert inputs.position_ids is not None
    assert inputs.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2], [0] * 7]
    assert inputs.rows is not None
    assert inputs.rows.tolist() == [0, 1, 0]
    assert inputs.positions.tolist() == [[1, 2], [0, 0], [4, 5]]
    assert inputs.labels.tolist() == [[7, 8], [0, 0], [2, 3]]
    assert inputs.padding == 6


def long_tailed(number: int, seed: int = 0) -> list[int]:
    """Lengths of texts, most of them short and a few very long."""
    drawn = np.random.default_rng(seed).lognormal(mean=5, sigma=1.1, size=number)
    return [int(n) for n in drawn.clip(8, 4096)]


@pytest.mark.parametrize(("batch", "size"), [(32, 8), (32, None), (64, 16)])
def test_padding_of_a_long_tailed_set(batch: int, size: int | None) -> None:
    train = TrainSpec(epochs=1, batch_size=batch, micro_batch_size=size, learning_rate=1)
    before, after = padding_shares(long_tailed(4096), train, Packer.for_width(2048))
    print(f"long-tailed set, {batch} texts in micro-batches of {size}: padding {before:.1%} before, {after:.1%} after")
    assert before > 0.2
    assert after < 0.03


def test_the_command_prints_the_padding_that_a_training_has(
    make_recipe: RecipeMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = make_recipe(steps=4, batch_size=5, micro_batch_size=3, sources=(), terms=())
    (tmp_path / "recipe.yaml").write_text(recipe.model_dump_json(by_alias=True, exclude_none=True))
    assert padding.main([str(tmp_path / "recipe.yaml")]) == 0
    found = []
    for packing in (False, True):
        changed = recipe.model_copy(update={"train": recipe.train.model_copy(update={"packing": packing})})
        totals = fuse(changed, tmp_path / str(packing)) / "training_totals.json"
        found.append(json.loads(totals.read_text())["padding_share"])
    assert found[1] < found[0]
    said = f"padding of test: {found[0]:.1%} without packing, {found[1]:.1%} with packing\n"
    assert capsys.readouterr().out == said
    assert padding.main([str(tmp_path / "none.yaml")]) == 2


def test_flash_attention_gets_one_row_without_padding() -> None:
    lengths = long_tailed(16)
    assert Packer(float("inf")).rows(lengths) == [list(range(16))]


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40), number=st.integers(1, 12))
def test_evening_out_moves_texts_only_and_makes_no_row_longer(lengths: list[int], number: int) -> None:
    before = deal(lengths, min(number, len(lengths)))
    after = even_out(before, lengths)
    assert sorted(i for row in after for i in row) == [*range(len(lengths))]
    assert [len(row) for row in after] == [len(row) for row in before]
    longest = max(sum(lengths[i] for i in row) for row in after)
    assert longest <= max(sum(lengths[i] for i in row) for row in before)
    largest = next(row for row in after if sum(lengths[i] for i in row) == longest)
    for row in after:  # no swap of two texts is left that would help
        for i in largest:
            for j in row:
                moved = lengths[i] - lengths[j]
                assert moved <= 0 or sum(lengths[n] for n in row) + moved >= longest


def test_evening_out_finds_the_swaps_that_dealing_misses() -> None:
    lengths = [5, 5, 4, 4, 3, 3, 3]
    dealt = deal(lengths, 3)
    assert max(sum(lengths[i] for i in row) for row in dealt) == 11
    assert max(sum(lengths[i] for i in row) for row in even_out(dealt, lengths)) == 9


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=30), balance=st.sampled_from([20.0, 200.0, 5000.0]))
def test_the_chosen_rows_are_the_best_of_all_numbers_of_rows(lengths: list[int], balance: float) -> None:
    """The packer does not look at all numbers. `rows` states the rule."""
    packer, total = Packer(balance), sum(lengths)
    all_rows = [even_out(deal(lengths, n), lengths) for n in range(1, min(len(lengths), total // max(lengths) + 1) + 1)]

    def places(rows: list[list[int]]) -> int:
        return len(rows) * max(sum(lengths[i] for i in row) for row in rows)

    def cost(rows: list[list[int]]) -> float:
        return places(rows) * (balance + places(rows) / len(rows))

    affordable = [rows for rows in all_rows if cost(rows) <= DEARER * min(map(cost, all_rows))]
    tight = [rows for rows in affordable if 1 - total / places(rows) <= PADDING]
    found = packer.rows(lengths)
    if tight:
        assert cost(found) == min(map(cost, tight))
    else:
        assert places(found) == min(map(places, affordable))


def test_a_row_is_not_made_longer_than_it_pays() -> None:
    """Equal texts have no padding to save: joining them would only make the attention dearer."""
    assert Packer(100.0).rows([50] * 8) == [[i] for i in range(8)]


def test_work_is_dealt_to_processes_by_tokens() -> None:
    """The slowest of 8 processes, compared with the mean: in tokens, padding included, over many steps."""
    lengths = long_tailed(64 * 64)
    packer = Packer.for_width(2048)

    def ratio(packed: bool) -> float:
        ratios = []
        for first in range(0, len(lengths), 64):
            step = sorted(lengths[first : first + 64], reverse=True)
            work = [0] * 8
            for process, share in enumerate(share_step(step, 8, 8, packed)):
                for batch in ([step[i] for i in part] for part in share):
                    rows = packer.rows(batch) if packed else [[i] for i in range(len(batch))]
                    work[process] += len(rows) * max(sum(batch[i] for i in row) for row in rows)
            ratios.append(max(work) / (sum(work) / 8))
        return sum(ratios) / len(ratios)

    before, after = ratio(packed=False), ratio(packed=True)
    print(f"work of the slowest of 8 processes: {before:.2f} times the mean before, {after:.2f} after")
    assert before > 1.4
    assert after < 1.15


@pytest.mark.parametrize(("processes", "size"), [(1, 3), (2, 3), (4, 1), (8, 8), (2, 100)])
@pytest.mark.parametrize("packed", [True, False])
def test_every_text_of_a_step_is_dealt_once(processes: int, size: int, packed: bool) -> None:
    lengths = sorted(long_tailed(16, seed=3), reverse=True)
    shares = share_step(lengths, processes, size, packed)
    assert sorted(i for share in shares for batch in share for i in batch) == list(range(16))
    assert len({len(share) for share in shares}) == 1
    assert all(0 < len(batch) <= size for share in shares for batch in share)


def test_dealing() -> None:
    assert deal([4, 3, 3, 2], 2) == [[0, 3], [1, 2]]
    assert deal([9, 1, 1, 1], 2, most=2) == [[0, 3], [1, 2]]


def test_a_recipe_can_turn_packing_off(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    fusion = prepare(make_recipe(packing=False), Accelerator(cpu=True), tmp_path / "out")
    assert fusion.unpacked == "the recipe turns packing off"
    assert fusion.data.batch([0, 1, 2]).inputs.position_ids is None
    other = prepare(make_recipe(), Accelerator(cpu=True), tmp_path / "out")
    assert fusion.identity["recipe"] != other.identity["recipe"]


def test_a_recipe_can_choose_the_attention(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    """Flash attention reads the lengths of the texts from their positions: one row needs no padding."""
    fusion = prepare(make_recipe(attention="eager"), Accelerator(cpu=True), tmp_path / "out")
    assert fusion.unpacked is None
    assert fusion.model.model.config._attn_implementation == "eager"
    with pytest.raises(InputError, match=r"train.attention flash_attention_2 cannot be used: .*\nchoose another"):
        prepare(make_recipe(attention="flash_attention_2"), Accelerator(cpu=True), tmp_path / "out")
    fusion.model.model.config._attn_implementation = "flash_attention_2"
    assert packer_of(fusion.model, None) == Packer(float("inf"))


def test_packed_and_padded_trainings_agree(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    for packing in (True, False):
        recipe = make_recipe(packing=packing, optimizer="sgd", schedule="constant", batch_size=8)
        fuse(recipe, tmp_path / str(packing))
        said = json.loads((tmp_path / str(packing) / "fusion.json").read_text())
        assert said["packing"] is packing
        assert said["not_packed_because"] == (None if packing else "the recipe turns packing off")
    packed, padded = (load_file(tmp_path / str(p) / "model.safetensors") for p in (True, False))
    for name, tensor in padded.items():
        torch.testing.assert_close(packed[name], tensor, atol=1e-5, rtol=0)


def test_pieces_are_made_ahead_in_order_by_one_thread() -> None:
    made: list[int] = []
    makers: set[int] = set()
    begun = threading.Event()

    def make(piece: int) -> int:
        made.append(piece)
        makers.add(threading.get_ident())
        if piece == 1:
            begun.set()
        return piece * 10

    pieces = prefetch(make, range(4))
    assert next(pieces) == 0
    assert begun.wait(10)  # the second piece is made while the first one is used
    assert list(pieces) == [10, 20, 30]
    assert made == [0, 1, 2, 3]
    assert makers.isdisjoint({threading.get_ident()})


def test_an_error_of_a_piece_comes_in_its_turn() -> None:
    pieces = prefetch(lambda piece: 1 // (2 - piece), range(4))
    assert next(pieces) == 0
    assert next(pieces) == 1
    with pytest.raises(ZeroDivisionError):
        next(pieces)


def test_a_caller_that_stops_early_ends_the_thread() -> None:
    made: list[int] = []
    pieces: Any = prefetch(lambda piece: made.append(piece), range(1000))
    next(pieces)
    pieces.close()
    assert len(made) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
