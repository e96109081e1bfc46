"""Model soup: the weighted mean of the weights of several models that were trained from one base.

Wortsman et al., Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing
inference time (2022), arXiv:2203.05482. theta = sum_m w_m theta_m with sum_m w_m = 1. The sum is computed in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
    from transformers import PreTrainedModel


class SoupOptions(Model):
    """Options of `soup`."""

    weights: dict[str, float] = Field(default_factory=dict)
    """name of a merged model -> its weight; they are divided by their sum. Default: all equal"""


def check(spec: Spec, method: MethodSpec) -> None:
    """Checks that the models have one base, and that the weights name them.

    Raises:
        InputError: they do not.
    """
    base_of(spec, method)
    check_weights(SoupOptions.model_validate(method.options).weights, merged_names(spec, method))


def average(models: Mapping[str, PreTrainedModel], shares: Mapping[str, float]) -> PreTrainedModel:
    """The first model, with its parameters replaced by the weighted mean of those of all models.

    Args:
        models: models with the same parameters.
        shares: weight of each model, with the sum 1.
    """
    import torch

    named = {name: parameters(model) for name, model in models.items()}
    target = next(iter(models.values()))
    with torch.no_grad():
        for key, value in parameters(target).items():
            mean = sum(share * named[name][key].double() for name, share in shares.items())
            value.copy_(torch.as_tensor(mean))
    return target


def make_soup(
    spec: Spec, method: MethodSpec, world: Path, data: Path, seed: int, output: Path, progress: Progress
) -> Path:
    """Writes the weighted mean of the models. It reads no data, so all seeds give the same weights."""
    cost, names = Cost(), merged_names(spec, method)
    shares = shares_of(SoupOptions.model_validate(method.options).weights, names)
    folders = {name: world / "models" / name for name in names}
    models, tokenizer = read_alike(folders)
    merged = average(models, shares)
    progress(1, 1)
    listed = ", ".join(f"{share:g} x `{name}`" for name, share in shares.items())
    return write_merged(
        merged,
        tokenizer,
        output,
        how=f"A model soup (arXiv:2203.05482), the weighted mean of the weights: {listed}.",
        settings={"kind": "soup", "shares": shares},
        parts=folders,
        totals=cost.totals(),
    )


METHOD = Method(make=make_soup, inputs=inputs, options=SoupOptions, check=check, unread=TRAINING_KEYS)
