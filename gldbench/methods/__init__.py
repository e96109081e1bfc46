"""The ways to make a fused checkpoint: `METHODS`. All are functions with the same arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gldbench.methods.train import train
from gldbench.spec import MethodSpec, Spec
from gldfusion.errors import InputError, did_you_mean
from gldfusion.progress import Progress

METHODS: dict[str, Callable[[Spec, MethodSpec, Path, Path, int, Path, Progress], Path]] = {
    # this project: gldfusion, whose losses carry their own citations
    "train": train,
}
"""by kind: (spec, method, world folder, data file, seed, output folder, progress) -> the checkpoint"""


def check_methods(spec: Spec) -> None:
    """Checks the kinds of all methods, then their losses and the options of the losses. Only the latter loads torch.

    Raises:
        InputError: names the method and what is unknown.
    """
    for name, method in spec.methods.items():
        if method.kind not in METHODS:
            raise InputError(
                f'methods.{name}.kind: there is no kind "{method.kind}"{did_you_mean(method.kind, METHODS)}\n'
                f"known: {', '.join(METHODS)}"
            )
    from gldfusion.losses import make_loss

    for name, method in spec.methods.items():
        for number, term in enumerate(method.terms):
            try:
                make_loss(term.loss, term.options)
            except InputError as error:
                raise InputError(f"methods.{name}.terms.{number}: {error}") from None
