"""Fisher-weighted merging: the mean of the weights of several models, each entry weighted by its Fisher information.

Matena and Raffel, Merging Models with Fisher-Weighted Averaging (2022), arXiv:2111.09832.

    theta = sum_m w_m F_m theta_m / sum_m w_m F_m
    F_m = 1/N sum_n (d log p_m(response_n | prompt_n) / d theta)^2

F_m is the diagonal of the *empirical* Fisher information: the square is taken for each example, before the mean, and
the responses are those of the data. Here the data are the fusion set, whose responses are partly wrong, because the
other methods read the same data. With equal F_m the result is the model soup. Everything is summed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from gldbench.methods.method import TRAINING_KEYS, Method
from gldbench.methods.weights import (
    Cost,
    base_of,
    check_weights,
    inputs,
    merged_names,
    parameters,
    read_alike,
    shares_of,
    write_merged,
)
from gldbench.spec import MethodSpec, Spec
from gldfusion.progress import Progress
from gldfusion.recipe import Model

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from gldfusion.align import Encoded


class FisherOptions(Model):
    """Options of `fisher`."""

    weights: dict[str, float] = Field(default_factory=dict)
    """name of a merged model -> its weight w; they are divided by their sum. Default: all equal"""
    examples: int = Field(default=500, gt=0)
    """the Fisher information is measured on so many examples, which the seed draws from the data"""
    floor: float = Field(default=1e-6, gt=0)
    """the least Fisher information of an entry, as a share of the mean over all entries and models. Where no model has
    more, the merged weight is that of the model soup"""


def check(spec: Spec, method: MethodSpec) -> None:
    """Checks that the models have one base, and that the weights name them.

    Raises:
        InputError: they do not.
    """
    base_of(spec, method)
    check_weights(FisherOptions.model_validate(method.options).weights, merged_names(spec, method))


def fisher(model: PreTrainedModel, examples: Sequence[Encoded], progress: Progress) -> dict[str, Tensor]:
    """The diagonal of the empirical Fisher information of a model, in float64.

    Args:
        model: the model.
        examples: encoded texts, each with at least one label.
        progress: called with (examples that are done, examples in all).

    Returns:
        For each parameter a tensor of its shape: the mean over the examples of the squared gradient of the
        log-probability of the whole response.
    """
    import torch

    from gldfusion.inputs import collate

    found = {key: torch.zeros_like(value, dtype=torch.float64) for key, value in parameters(model).items()}
    for done, example in enumerate(examples, start=1):
        inputs = collate([example])
        logits = model(**inputs.model_inputs()).logits[0, inputs.positions[0]]
        log_probability = logits.log_softmax(-1).gather(-1, inputs.labels[0][:, None]).sum()
        gradients = torch.autograd.grad(log_probability, [*parameters(model).values()], allow_unused=True)
        for total, gradient in zip(found.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient.double().square() / len(examples)
        progress(done, len(examples))
    return found


def weighted_average(
    models: Mapping[str, PreTrainedModel],
    fishers: Mapping[str, Mapping[str, Tensor]],
    shares: Mapping[str, float],
    floor: float,
) -> PreTrainedModel:
    """The first model, with its parameters replaced by the Fisher-weighted mean of those of all models.

    Args:
        models: models with the same parameters.
        fishers: the Fisher information of each model, by parameter.
        shares: weight w of each model.
        floor: see `FisherOptions`.
    """
    import torch

    entries = sum(value.numel() for own in fishers.values() for value in own.values())
    least = floor * float(sum(value.sum() for own in fishers.values() for value in own.values())) / entries
    least = least or 1.0  # no entry has any information: all weigh the same
    named = {name: parameters(model) for name, model in models.items()}
    target = next(iter(models.values()))
    with torch.no_grad():
        for key, value in parameters(target).items():
            weights = {name: share * fishers[name][key].clamp(min=least) for name, share in shares.items()}
            above = torch.stack([weight * named[name][key].double() for name, weight in weights.items()]).sum(0)
            value.copy_(above / torch.stack([*weights.values()]).sum(0))
    return target


def make_fisher(
    spec: Spec, method: MethodSpec, world: Path, data: Path, seed: int, output: Path, progress: Progress
) -> Path:
    """Measures the Fisher information of each model on the fusion data, and merges the models."""
    from gldfusion.data import read_examples
    from gldfusion.sources import encode_example

    cost, names = Cost(), merged_names(spec, method)
    options = FisherOptions.model_validate(method.options)
    folders = {name: world / "models" / name for name in names}
    models, tokenizer = read_alike(folders)
    encoded = [encode_example(tokenizer, e, spec.fusion.train.max_length, "parse") for e in read_examples(data)]
    usable = [example for example in encoded if example.starts]
    drawn = np.random.default_rng([seed, len(usable)]).permutation(len(usable))[: options.examples]
    chosen = [usable[i] for i in drawn.tolist()]
    fishers = {}
    for place, (name, model) in enumerate(models.items()):
        before = place * len(chosen)
        fishers[name] = fisher(model, chosen, lambda done, _, b=before: progress(b + done, len(chosen) * len(names)))
    tokens = len(names) * sum(len(example.ids) for example in chosen)
    size = sum(value.numel() for value in parameters(models[names[0]]).values())
    shares = shares_of(options.weights, names)
    merged = weighted_average(models, fishers, shares, options.floor)
    listed = ", ".join(f"{share:g} x `{name}`" for name, share in shares.items())
    return write_merged(
        merged,
        tokenizer,
        output,
        how=f"Fisher-weighted mean of the weights (arXiv:2111.09832) on {len(chosen)} examples: {listed}.",
        settings={"kind": "fisher", "options": options.model_dump(mode="json"), "shares": shares},
        parts=folders,
        totals=cost.totals(tokens=tokens, flops=6 * size * tokens),
    )


METHOD = Method(make=make_fisher, inputs=inputs, options=FisherOptions, check=check, unread=TRAINING_KEYS)
