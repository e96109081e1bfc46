"""What a model does to its logits after the output embedding reaches the losses."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    HyperCLOVAXConfig,
    PreTrainedConfig,
)

from gldfusion.inputs import Inputs
from gldfusion.model import SignalModel

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
CONFIGS = [
    Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.2),
    GraniteConfig(**SIZES, logits_scaling=3.0),
    CohereConfig(**SIZES, logit_scale=0.25),
    HyperCLOVAXConfig(**SIZES, logits_scaling=3.0),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@pytest.mark.parametrize("k", [4, None])
def test_signals_are_the_models_own_logits(config: PreTrainedConfig, k: int | None) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(1, 40, (2, 6))
    mask = torch.ones(2, 6, dtype=torch.bool)
    labels = torch.randint(1, 40, (2, 6))
    positions = torch.arange(6).expand(2, 6)
    inputs = Inputs(input_ids=ids, attention_mask=torch.ones_like(ids), positions=positions, mask=mask, labels=labels)
    logits = model(input_ids=ids).logits.float()
    with torch.no_grad():
        found = SignalModel(model, k, {"logits"})(inputs)
    asked = torch.arange(3).expand(2, 6, 3)
    torch.testing.assert_close(found.logprobs_at(asked), logits.log_softmax(-1)[..., :3])
    assert found.vocabulary == logits.shape[-1]
    torch.testing.assert_close(found.values, logits.topk(k or 40).values)
    torch.testing.assert_close(found.lse, logits.logsumexp(-1))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    torch.testing.assert_close(found.nll.flatten(), expected)
