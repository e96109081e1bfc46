"""Low-rank adapters (LoRA, arXiv 2106.09685), through the library peft.

Peft puts the adapters into the layers of the pivot, so its forward pass, and with it every kernel and loss, uses the
adapted model. Only the adapters are trained, saved in training states, and exported. A merged checkpoint is the
pivot as it lies on the disk plus the adapters, also if the pivot was held in 4 bits (QLoRA, arXiv 2305.14314).
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import save_file
from torch import Tensor
from transformers import BitsAndBytesConfig, PreTrainedModel

from gldfusion.errors import InputError
from gldfusion.model import load_model
from gldfusion.reading import plain_line
from gldfusion.recipe import Lora, TrainSpec

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""the two files of an adapter, as peft reads them"""


def add_adapters(model: PreTrainedModel, lora: Lora, pivot: Path, seed: int) -> None:
    """Freezes a model and puts adapters into its layers. At first they change nothing: one factor of each is 0.

    Args:
        model: the model, which is changed.
        lora: the settings.
        pivot: folder of its checkpoint, which is written into the configuration of the adapter.
        seed: seed of the random factors.

    Raises:
        InputError: no module has the name of a target, or a target is the input or the output embedding.
    """
    _require_targets(model, lora)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(pivot),
        r=lora.rank,
        lora_alpha=cast(int, lora.alpha),
        lora_dropout=0.0,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
    )
    model.requires_grad_(False)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model)
    except ValueError as error:  # a target that peft cannot adapt
        raise InputError(
            f"train.lora: adapters cannot be put into {type(model).__name__} ({plain_line(error)})\n"
            "name linear layers in train.lora.target_modules, or remove it to adapt all of them"
        ) from error
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()  # small updates would be lost in half precision
    model.eval()


def _require_targets(model: PreTrainedModel, lora: Lora) -> None:
    """Checks the targets. The output layer's matrix is read by our own kernels, which an adapter would not reach."""
    if isinstance(lora.target_modules, str):
        return
    names = [name for name, _ in model.named_modules()]
    embeddings = {id(model.get_output_embeddings()), id(model.get_input_embeddings())}
    for target in lora.target_modules:
        hit = [name for name in names if name == target or name.endswith(f".{target}")]
        if not hit:
            linear = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)})
            raise InputError(
                f"train.lora.target_modules: {type(model).__name__} has no module {target}\n"
                f"its linear layers: {', '.join(linear)}"
            )
        if any(id(model.get_submodule(name)) in embeddings for name in hit):
            raise InputError(
                f"train.lora.target_modules: {target} is an embedding of {type(model).__name__}, and cannot have an "
                "adapter\nour kernels read the output embedding itself: remove this target"
            )


def adapters(model: PreTrainedModel, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The adapters of a model by their names in peft's file, on the CPU.

    Args:
        model: a model with adapters.
        weights: its weights by name, if its own tensors are only parts of them.
    """
    found = get_peft_model_state_dict(model, state_dict=None if weights is None else dict(weights))
    return {f"base_model.model.{name}": tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def save_adapters(model: PreTrainedModel, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Writes the adapters as peft reads them.

    Args:
        model: a model with adapters.
        weights: see `adapters`.
        folder: an existing folder.
    """
    (config,) = cast(dict[str, LoraConfig], model.peft_config).values()
    settings = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    settings["inference_mode"] = True
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True, default=str) + "\n")
    save_file(dict(weights), folder / WEIGHTS, metadata={"format": "pt"})


def merged(
    model: PreTrainedModel, weights: Mapping[str, Tensor], pivot: Path, trust_remote_code: bool
) -> PreTrainedModel:
    """The pivot as it lies on the disk, in its own dtype, with the adapters added to its weights by peft.

    Args:
        model: the trained model with adapters. It is not changed.
        weights: see `adapters`.
        pivot: folder of the pivot.
        trust_remote_code: whether code that the pivot brings may run.
    """
    base = load_model(pivot, "auto", trust_remote_code)
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a property of transformers under its old name
        save_adapters(model, weights, Path(name))
        adapted: Any = PeftModel.from_pretrained(base, name)
    return cast(PreTrainedModel, adapted.merge_and_unload())


def four_bits(train: TrainSpec) -> BitsAndBytesConfig:
    """How the weights of QLoRA are held: NF4 with doubly quantised scales.

    They are turned back into bfloat16 for every product, and into float32 if neither weights nor precision are in half.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "train.lora.quantization: nf4 needs the package bitsandbytes\n"
            "install it: pip install 'gldbench[lowbit]', or set train.lora.quantization: none"
        )
    half = train.precision == "bf16" or train.weights == "bfloat16"
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if half else torch.float32,
    )
