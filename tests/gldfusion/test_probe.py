"""What a model does around its output layer is measured, and a model that we do not follow is refused at load."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from accelerate import cpu_offload
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    FalconH1Config,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertDecoderConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RecurrentGemmaConfig,
    RobertaConfig,
)

from gldfusion.errors import InputError
from gldfusion.fuse import fuse
from gldfusion.model import SignalModel, quiet
from gldfusion.probe import AfterHead, require_causal, require_own_logits
from gldfusion.recipe import Recipe, SourceSpec
from tests.gldfusion.model_classes import FILE, SPECIAL, TYPES, build, finding, kind

SMALL: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED: dict[str, Any] = SMALL | {"num_key_value_heads": 2}
MAMBA: dict[str, Any] = {
    "mamba_n_heads": 2,
    "mamba_d_ssm": 16,
    "mamba_d_state": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
}


def make(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A model with random weights whose logits spread widely."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        cast(nn.Linear, model.get_output_embeddings()).weight.mul_(100)
    return model


@pytest.mark.parametrize(
    ("config", "scale", "softcap"),
    [
        (LlamaConfig(**GROUPED), 1.0, None),
        (FalconH1Config(**GROUPED, **MAMBA, lm_head_multiplier=0.25), 0.25, None),
        (RecurrentGemmaConfig(**GROUPED, head_dim=8, lru_width=16, logits_soft_cap=7.0), 1.0, 7.0),
        (Gemma2Config(**GROUPED, head_dim=8, final_logit_softcapping=5.0), 1.0, 5.0),
        (GraniteConfig(**GROUPED, logits_scaling=3.0), 1 / 3, None),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scale_and_cap_are_measured(
    config: PreTrainedConfig, scale: float, softcap: float | None, dtype: torch.dtype
) -> None:
    """They are exact in bfloat16 too, because the numbers of the measurement are float64."""
    assert SignalModel(make(config, dtype), 4).after_head == AfterHead(40, scale, softcap)


@pytest.mark.parametrize("model_type", ["gemma4", "gemma4_text"])
def test_a_cap_inside_the_configuration_of_the_text_part_is_measured(model_type: str) -> None:
    after = SignalModel(build(model_type), 4).after_head
    assert after.softcap == SPECIAL[model_type]["final_logit_softcapping"]


def test_a_transform_between_the_base_model_and_the_output_layer_is_followed() -> None:
    config = ModernBertDecoderConfig(**SMALL, cls_token_id=1, sep_token_id=2)
    assert SignalModel(make(config), None).after_head == AfterHead(40)


@pytest.mark.parametrize("kind", [BertConfig, RobertaConfig])
def test_attention_that_sees_the_label_is_refused(kind: type[PreTrainedConfig]) -> None:
    with pytest.raises(InputError, match=r"later tokens change a logit by .* of the largest logit") as caught:
        SignalModel(make(kind(**SMALL)), 4)
    assert "LMHeadModel" in str(caught.value) or "ForCausalLM" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    with pytest.raises(InputError, match="attention sees what is to be predicted"):
        require_causal(make(kind(**SMALL)))
    SignalModel(make(kind(**SMALL, is_decoder=True)), 4)


class Planted(LlamaForCausalLM):
    """A model that changes its logits, or its states, in a way that nothing but `change` says."""

    change: Callable[[Tensor], Tensor]
    outside = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As Llama, and then `change`."""
        if self.outside:
            states = self.model(*args, **kwargs).last_hidden_state
            return type("Output", (), {"logits": nn.functional.linear(states, self.lm_head.weight)})
        out = super().forward(*args, **kwargs)
        out.logits = self.change(out.logits)
        return out


PLANTED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a bias": (lambda z: z + 1e-3, "a scale and a cap alone"),
    "a factor of its own for each id": (lambda z: z * torch.linspace(0.5, 1, z.shape[-1]), "a scale and a cap alone"),
    "another curve": (lambda z: z.sign() * z.abs().sqrt(), "a scale and a cap alone"),
    "a mask on ids": (lambda z: z.masked_fill(torch.arange(z.shape[-1]) == 7, -1e4), "a scale and a cap alone"),
    "a reversed sign": (lambda z: -z, "it makes"),
    "NaN": (lambda z: z * torch.nan, "it makes"),
}


def planted(change: Callable[[Tensor], Tensor] = lambda z: z) -> Planted:
    torch.manual_seed(0)
    model = Planted(LlamaConfig(**GROUPED)).eval()
    model.change = change
    return model


@pytest.mark.parametrize("case", PLANTED)
def test_any_other_change_of_the_logits_is_refused(case: str) -> None:
    change, message = PLANTED[case]
    with pytest.raises(InputError, match=f"cannot use the model Planted\n.*{message}"):
        SignalModel(planted(change), 4)


def test_a_model_that_does_not_call_its_output_layer_is_refused() -> None:
    model = planted()
    model.outside = True
    with pytest.raises(InputError, match="runs its output layer 0 times"):
        SignalModel(model, 4)


def test_rows_that_the_model_cuts_off_are_no_part_of_the_vocabulary() -> None:
    model = SignalModel(planted(lambda z: z[..., :33]), 4)
    assert model.vocabulary == model.after_head.entries == 33


def test_signals_that_differ_from_the_models_logits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the difference is named: a scale that is wrong by 1 % changes the largest logit by 1 %."""
    signals = SignalModel(make(LlamaConfig(**GROUPED)), None)
    signals.after_head = AfterHead(40, 1.01)
    with pytest.raises(
        InputError, match=r"differ from the model's own logits by 0\.01 of the largest logit \(accepted: 0\.0001\)"
    ):
        require_own_logits(signals)
    signals.after_head = AfterHead(40, 1.00005)
    require_own_logits(signals)


def test_the_probe_changes_neither_modes_nor_random_numbers() -> None:
    model = make(LlamaConfig(**GROUPED, attention_dropout=0.5))
    model.train()
    cast(nn.Module, model.get_input_embeddings()).eval()
    modes = {name: module.training for name, module in model.named_modules()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    SignalModel(model, 4)
    assert torch.equal(torch.rand(3), expected)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert "forward" not in vars(model.get_output_embeddings())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_error_of_the_model_is_told_in_words() -> None:
    def fail(logits: Tensor) -> Tensor:
        raise RuntimeError("only images\nplease")

    with pytest.raises(InputError, match=r"cannot be run on tokens alone \(RuntimeError: only images please\)"):
        SignalModel(planted(fail), 4)


def test_an_offloaded_model_is_probed() -> None:
    model = make(Gemma2Config(**GROUPED, head_dim=8, final_logit_softcapping=5.0))
    cpu_offload(cast(nn.Module, model.base_model), execution_device=torch.device("cpu"))
    assert SignalModel(model, 4).after_head.softcap == 5
    bidirectional = make(BertConfig(**SMALL))
    cpu_offload(cast(nn.Module, bidirectional.base_model), execution_device=torch.device("cpu"))
    with pytest.raises(InputError, match="attention sees"):
        SignalModel(bidirectional, 4)


def test_a_model_without_numbers_is_refused() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**GROUPED)).eval()
    with pytest.raises(InputError, match="lie on the meta device"):
        SignalModel(model, 4)


@pytest.mark.parametrize("role", ["pivot", "source"])
def test_a_fusion_refuses_the_model_before_it_trains(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path, role: str
) -> None:
    checkpoint = bidirectional(models["qwen2"], tmp_path / "bert")
    changes: dict[str, Any] = (
        {"pivot": checkpoint} if role == "pivot" else {"sources": (SourceSpec(name="bert", checkpoint=checkpoint),)}
    )
    with pytest.raises(InputError, match=f"cannot use the model BertLMHeadModel in {checkpoint}\n"):
        fuse(make_recipe(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def bidirectional(like: Path, folder: Path) -> Path:
    """A checkpoint of a BERT whose attention sees later tokens, with the tokenizer of another checkpoint."""
    shutil.copytree(like, folder)
    size = json.loads((like / "config.json").read_text())["vocab_size"]
    with quiet():
        make(BertConfig(**SMALL | {"vocab_size": size})).save_pretrained(folder)
    return folder


SAMPLE = (
    *("bert", "cohere", "cpmant", "falcon_h1", "gemma3n_text", "gpt2", "hyperclovax", "llama4_text", "mamba"),
    *("minicpm3", "opt", "xlnet"),
)


def listed() -> dict[str, str]:
    """model type -> line of model_classes.txt."""
    return {line.split("\t")[0]: line for line in FILE.read_text(encoding="utf-8").splitlines()}


@pytest.mark.parametrize("model_type", SAMPLE)
def test_the_list_of_classes_says_what_the_probe_finds(model_type: str) -> None:
    assert without_numbers(finding(model_type)) == without_numbers(listed()[model_type])


@pytest.mark.slow
@pytest.mark.parametrize("model_type", [t for t in TYPES if t not in SAMPLE])
def test_the_whole_list_of_classes_says_what_the_probe_finds(model_type: str) -> None:
    assert without_numbers(finding(model_type)) == without_numbers(listed()[model_type])


def test_the_list_of_classes_is_complete() -> None:
    assert tuple(listed()) == TYPES
    found = Counter(kind(line) for line in listed().values())
    assert set(found) == {"right", "refused", "not built"}
    assert found["right"] >= 160


def without_numbers(line: str) -> str:
    """A line without the size of a difference, which depends on the machine in its last digits."""
    return re.sub(r"by [0-9.e-]+ of", "by _ of", line)
