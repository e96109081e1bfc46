"""Shipped configurations have the published sizes; a pass counts what PyTorch really keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from gldbench.plan.models import configuration, shipped
from gldbench.plan.passes import Shape, measure, storage_of
from gldfusion.errors import InputError
from gldfusion.probe import hidden_states

PUBLISHED = {
    "microsoft/phi-4": 14.66e9,
    "Qwen/Qwen2.5-14B-Instruct": 14.77e9,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23.57e9,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": 14.77e9,
    "meta-llama/Meta-Llama-3-8B-Instruct": 8.03e9,
    "mistralai/Mistral-7B-Instruct-v0.3": 7.25e9,
    "Qwen/Qwen2.5-7B-Instruct": 7.62e9,
    "openai-community/gpt2": 0.124e9,
    "facebook/opt-350m": 0.331e9,
    "bigscience/bloomz-560m": 0.559e9,
}
"""parameters as the pages of the models on the hub give them, rounded"""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shipped_configuration_has_the_published_number_of_parameters(name: str) -> None:
    found = configuration(Path("models") / name.rpartition("/")[2], None, False)
    counted = measure(found.config, Shape(1, 8, dtype="bfloat16", training=False)).parameters
    assert counted == pytest.approx(PUBLISHED[name], rel=5e-3)
    assert shipped()[name]["url"] in found.origin
    assert "which does not exist here" in found.origin


def test_every_shipped_configuration_is_compared_with_a_published_size() -> None:
    assert set(shipped()) == set(PUBLISHED)


LLAMA = LlamaConfig(
    hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=200, pad_token_id=0
)
GPT2 = GPT2Config(
    n_embd=64, n_layer=2, n_head=4, vocab_size=200, n_positions=64, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
)


@pytest.mark.parametrize(("config", "kind"), [(LLAMA, LlamaForCausalLM), (GPT2, GPT2LMHeadModel)])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_pass_counts_the_bytes_that_a_real_forward_pass_keeps(config: object, kind: type, autocast: bool) -> None:
    model = kind(config).eval()
    weights = {storage_of(p).data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if storage_of(tensor).data_ptr() not in weights:
            kept[storage_of(tensor).data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        hidden_states(model, input_ids=torch.zeros(2, 24, dtype=torch.long))
    real = sum(storage_of(tensor).nbytes() for tensor in kept.values())
    assert measure(config, Shape(2, 24, autocast=autocast)).kept == pytest.approx(real, rel=0.05)


@pytest.mark.parametrize("length", [32, 256])
@pytest.mark.parametrize("training", [False, True])
def test_attention_counts_as_work(length: int, training: bool) -> None:
    """Four FLOPs for each pair of tokens and number of a head; torch's own counter leaves them out on a CPU."""
    matrices = 3 * (4 * 64 * 64 + 3 * 64 * 96)
    attention = 3 * 4 * length * 64
    counted = measure(LLAMA, Shape(2, length, training=training)).flops
    assert counted == 2 * length * (2 * matrices + attention)


def test_the_widest_result_of_a_layer() -> None:
    assert measure(LLAMA, Shape(1, 8)).widest == 96
    assert measure(GPT2, Shape(1, 8)).widest == 4 * 64


def test_checkpointing_keeps_less_and_adapters_train_less() -> None:
    full = measure(LLAMA, Shape(2, 32))
    assert measure(LLAMA, Shape(2, 32, checkpointing=True)).kept < full.kept / 3
    adapters = measure(LLAMA, Shape(2, 32, lora=(4, ())))
    each = 4 * (64 + 64) * 4 + 3 * 4 * (64 + 96)  # q, k, v, o; gate, up, down
    assert adapters.trainable == 3 * each
    assert adapters.parameters == full.parameters + 3 * each
    assert measure(LLAMA, Shape(2, 32, lora=(4, ("q_proj",)))).trainable == 3 * 4 * (64 + 64)


def test_an_unknown_model_is_refused_with_the_names_that_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no configuration is shipped for ph-4 \(did you mean .phi-4") as error:
        configuration(tmp_path / "ph-4", None, False)
    assert "--model NAME=CONFIGURATION" in str(error.value)
    assert configuration(tmp_path / "ph-4", "phi-4", False).origin.startswith("microsoft/phi-4, chosen with --model")


def test_a_damaged_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(InputError, match="cannot be read"):
        configuration(tmp_path, None, False)
