"""The repeated layers of a language model: each is recomputed, and sharded, as one unit."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from gldfusion.errors import InputError


def repeated_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers that transformers also keeps whole when it spreads a model over devices (`_no_split_modules`).

    Raises:
        InputError: the class of the model names none, or the model has none of them.
    """
    names = set(model._no_split_modules or ())
    found: list[tuple[str, nn.Module]] = []
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer, _ in found)
        if type(module).__name__ in names and path and not inside:
            found.append((path, module))
    if not found:
        raise InputError(
            f"the model class {type(model).__name__} does not say which of its modules are layers\n"
            "train it without train.gradient_checkpointing and without FSDP"
        )
    return [module for _, module in found]


def recompute_layers(model: PreTrainedModel) -> None:
    """Makes every layer keep its inputs only, and compute the rest again in the backward pass.

    transformers does the same only for models in training mode, in which dropout would be on.

    Raises:
        InputError: the layers are not known.
    """
    for layer in repeated_layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
