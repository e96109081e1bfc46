"""The losses that a recipe can use as terms, by name: `LOSSES`.

A loss returns the *sum* over its units, and says how many units there are. The training loop divides by the number of
units in all micro-batches and processes. Only then do gradient accumulation and data parallelism equal one big batch.

To add a loss, write one file with one frozen dataclass that satisfies `Loss`, and add one line to `LOSSES`. The section
"Adding a loss" of reference/README.md has an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor

from gldfusion.errors import InputError, did_you_mean
from gldfusion.losses.alm import Alm
from gldfusion.losses.gkd import Gkd
from gldfusion.losses.gld import Gld
from gldfusion.losses.gld_local import GldLocal
from gldfusion.losses.gold import Gold
from gldfusion.losses.kl import Kl
from gldfusion.losses.minced import Minced
from gldfusion.losses.sft import Sft
from gldfusion.losses.shared_kd import SharedKd
from gldfusion.losses.uld import Uld
from gldfusion.losses.uld_topk import UldTopk
from gldfusion.losses.xtoken import Xtoken
from gldfusion.signals import PivotSignal, Signal


class Loss(Protocol):
    """A loss: a frozen dataclass whose fields are its options.

    Its docstring begins with a summary line. If it has options, an "Attributes:" section explains each of them;
    `describe` reads both.

    Attributes:
        citation: Where the loss comes from.
        formula: The loss as an equation.
        needs_source: False if the loss reads the labels alone. Such a loss cannot be a term of a recipe.
        same_vocabulary: True if pivot and source must have the same tokenizer.
    """

    citation: ClassVar[str]
    formula: ClassVar[str]
    needs_source: ClassVar[bool]
    same_vocabulary: ClassVar[bool]

    @property
    def needs(self) -> frozenset[str]:
        """What the loss reads of the signals besides values, mask and nll.

        Both signals can hold "ids", "lse", "moments" (mean and std) and "nll" (of each label by itself; without it, a
        loss may use the pivot's `nll` only in a sum with equal weights). Only the pivot's can hold "logits" and
        "labels". "mapped" is the source's ids in the pivot's vocabulary, by the vocabulary map that the loss's option
        or class variable `map` names; "shared" marks in the pivot's signal the ids to which this map leads. "projected"
        is the source's `projected` and `shares`.
        """
        ...

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """Computes the sum over the units of a batch.

        Args:
            pivot: the pivot's signal, with gradient.
            source: the source's signal; None for a loss on the labels alone.
            pairs: [B, P, 2] of (pivot position, source position) along the T axes of the signals, in ascending order,
                padded with -1. If both models read a text to its end, a row of `signals.END` follows its last pair.

        Returns:
            A scalar with gradient to the pivot.
        """
        ...

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """Counts the units of a batch. It must depend on the masks and the pairs alone.

        Args:
            pivot_mask: [B, T].
            source_mask: [B, T_s].
            pairs: as in `__call__`.
        """
        ...


@runtime_checkable
class Choosing(Protocol):
    """A loss that divides every sequence among the sources: each source gets a share of it."""

    def scores(self, pivot: PivotSignal, source: Signal, pairs: Tensor) -> Tensor:
        """How badly a source predicts the labels of each sequence: [B]."""
        ...

    def shares(self, scores: Tensor) -> Tensor:
        """The share of each of S sources in each sequence, [S, B], from the `scores` [S, B] of these sources."""
        ...

    def weighed(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None, share: Tensor) -> Tensor:
        """As `Loss.__call__`, with each sequence multiplied by the source's share [B] of it."""
        ...


LOSSES: dict[str, type[Loss]] = {
    "sft": Sft,
    "uld": Uld,
    "uld_topk": UldTopk,
    "gld": Gld,
    "gld_local": GldLocal,
    "kl": Kl,
    "minced": Minced,
    "gkd": Gkd,
    "shared_kd": SharedKd,
    "alm": Alm,
    "gold": Gold,
    "xtoken": Xtoken,
}


def make_loss(name: str, options: Mapping[str, Any] | None = None) -> Loss:
    """Makes the loss called `name` with the given options.

    Raises:
        InputError: the name or an option is unknown, or an option does not take the given value.
    """
    if name not in LOSSES:
        raise InputError(f"unknown loss {name!r}{did_you_mean(name, LOSSES)}; known: {', '.join(LOSSES)}")
    known = [field.name for field in fields(LOSSES[name])]  # pyright: ignore[reportArgumentType]
    for option in options or {}:
        if option not in known:
            raise InputError(
                f"{name} has no option {option!r}{did_you_mean(str(option), known)}; "
                f"it takes {', '.join(known) or 'no options'}"
            )
    return LOSSES[name](**(options or {}))
