"""What a training made, as it is exported: whole weights, or adapters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gldfusion.checkpoint import stored_dtype
from gldfusion.files import write_json
from gldfusion.prepare import Fusion
from gldfusion.recipe import Recipe
from gldfusion.sharding import whole_weights


@dataclass(frozen=True)
class Trained:
    """A trained pivot that can be written to disk by one process alone."""

    model: PreTrainedModel
    """its structure and configurations"""
    weights: Mapping[str, Tensor] | None
    """its adapters if the recipe trains adapters, or all its weights if the model holds parts of them only. None: the
    model's own tensors are its weights. In a sharded training, only the main process has them"""
    recipe: Recipe

    def save(self, folder: Path) -> None:
        """Writes weights and configurations into an existing folder, in the dtype in which the pivot is stored.

        With `train.lora` these are the adapters, or the pivot with the adapters added to it, as `lora.export` says.
        """
        lora = self.recipe.train.lora
        if lora is None:
            _save(self.model, self.weights, getattr(torch, stored_dtype(self.recipe.pivot)), folder)
            return
        from gldfusion.lora import merged, save_adapters  # loads peft, which most trainings do not need

        assert self.weights is not None
        if lora.export == "adapter":
            save_adapters(self.model, self.weights, folder)
            return
        whole = merged(self.model, self.weights, self.recipe.pivot, self.recipe.trust_remote_code)
        whole.generation_config = self.model.generation_config
        whole.save_pretrained(folder)


def collect(fusion: Fusion) -> Trained:
    """What the training made so far. All processes must call this."""
    model = fusion.accelerator.unwrap_model(fusion.model).model
    whole = whole_weights(model) if fusion.sharded else None
    if fusion.recipe.train.lora is None or not fusion.accelerator.is_main_process:
        return Trained(model, whole, fusion.recipe)
    from gldfusion.lora import adapters  # loads peft, which most trainings do not need

    return Trained(model, adapters(model, whole), fusion.recipe)


def _save(model: PreTrainedModel, given: Mapping[str, Tensor] | None, dtype: torch.dtype, folder: Path) -> None:
    """Writes a model in a dtype. transformers would write that of its parameters.

    Args:
        model: the model.
        given: its weights. None: its own tensors.
        dtype: type of the floating-point weights.
        folder: an existing folder.
    """
    weights = model.state_dict() if given is None else given
    if given is None and all(tensor.dtype == dtype for tensor in weights.values() if tensor.is_floating_point()):
        model.save_pretrained(folder)
        return
    model.save_pretrained(folder, state_dict=_in_dtype(weights, dtype))
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"dtype": str(dtype).removeprefix("torch.")})


def _in_dtype(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights on the CPU, in a dtype. Tensors that share their memory still do so, so tied weights stay tied."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    out: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in made:
            made[key] = tensor.to("cpu", dtype) if tensor.is_floating_point() else tensor
        out[name] = made[key]
    return out
