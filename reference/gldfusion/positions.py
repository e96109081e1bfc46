"""Finds out how long a text a model can read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from gldfusion.errors import InputError

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "max_target_positions")
"""names of the number of positions in configurations"""
_log = logging.getLogger(__name__)


class _EnoughError(Exception):
    """Ends the trial of a model after its first layer."""


def stated_positions(model: PreTrainedModel) -> int | None:
    """The number of positions that the configuration states; None if it states none."""
    config: Any = model.config.get_text_config()
    found = [getattr(config, name, None) for name in NAMES]
    return min((number for number in found if isinstance(number, int) and number > 0), default=None)


def can_read(model: PreTrainedModel, length: int) -> bool:
    """Whether a model can read a text of `length` tokens. The model must be on the CPU.

    A model with learned positions fails on a longer text, and on a GPU it stops the program. Others, such as those with
    rotary positions, can read texts that are longer than stated. Therefore the model is tried: its embeddings and its
    first layer run on a text of this length. If no more than the stated number is asked for, it is not tried.
    """
    stated = stated_positions(model)
    if stated is not None and length <= stated:
        return True
    try:
        with torch.no_grad(), _first_layer_only(model):
            model(input_ids=torch.ones(1, length, dtype=torch.int64), use_cache=False)
    except _EnoughError:
        pass
    except (IndexError, RuntimeError, ValueError):  # an index out of a table, or tables of another size than the text
        return False
    return True


def require_positions(model: PreTrainedModel, length: int, what: str) -> None:
    """Checks that a model can read a text of `length` tokens.

    Args:
        model: the model, on the CPU.
        length: tokens of the longest text.
        what: what has this length, for the message.

    Raises:
        InputError: it cannot.
    """
    if not can_read(model, length):
        most = stated_positions(model)
        raise InputError(
            f"{type(model).__name__} in {model.name_or_path} reads at most {most} tokens, but {what} has {length}\n"
            f"set max_length to at most {most} in `train` of the recipe"
        )


def readable_length(model: PreTrainedModel, length: int, source: str) -> int:
    """How many tokens of a text a source reads: `length`, or what the configuration states if it cannot read that many.

    A warning tells that longer texts are cut. Their last positions are then not paired, which lowers the coverage.

    Raises:
        InputError: it cannot read as many as the configuration states either.
    """
    if can_read(model, length):
        return length
    stated = stated_positions(model)
    if stated is None or stated >= length or not can_read(model, stated):
        raise InputError(
            f"source {source}: {type(model).__name__} cannot read texts of {min(length, stated or length)} tokens\n"
            "lower max_length in `train` of the recipe"
        )
    _log.warning(
        "warning: source %s reads at most %d tokens of a text, max_length is %d: longer texts are cut there",
        *(source, stated, length),
    )
    return stated


@contextmanager
def _first_layer_only(model: PreTrainedModel) -> Iterator[None]:
    """Stops the model after its first layer, if it has a list of layers."""

    def stop(*_: object) -> None:
        raise _EnoughError

    lists = [module for module in cast(nn.Module, model).modules() if isinstance(module, nn.ModuleList) and len(module)]
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    layers = next((module for module in lists if len(module) == depth), None)
    handle = None if layers is None else layers[0].register_forward_hook(stop)
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()
