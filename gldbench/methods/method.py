"""What a way to make a fused checkpoint consists of: `Method`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gldbench.jobs import Job
from gldbench.spec import MethodSpec, Spec
from gldfusion.errors import InputError
from gldfusion.progress import Progress
from gldfusion.recipe import Model

Make = Callable[[Spec, MethodSpec, Path, Path, int, Path, Progress], Path]
"""(spec, method, world folder, data file, seed, output folder, progress) -> the checkpoint"""

TRAINING_KEYS = ("control", "lambda_", "terms", "k", "learning_rate", "on_policy")
"""keys of `MethodSpec` that only a training reads"""


class NoOptions(Model):
    """The options of a method that has none."""


@dataclass(frozen=True)
class Inputs:
    """What a method reads of the world. Its jobs wait for these, and its cost includes theirs."""

    models: tuple[str, ...]
    """names of models whose weights it reads"""
    logits: tuple[str, ...] = ()
    """names of models whose stored logits it reads"""


def _nothing_before(spec: Spec, method: MethodSpec, world: Path) -> list[Job]:
    return []


@dataclass(frozen=True)
class Method:
    """One way to make a fused checkpoint."""

    make: Make
    inputs: Callable[[Spec, MethodSpec], Inputs]
    """says what the method reads of the world"""
    options: type[Model] = NoOptions
    """the class of `MethodSpec.options`"""
    check: Callable[[Spec, MethodSpec], None] = lambda spec, method: None
    """raises an `InputError` if the method cannot be made in this spec. It does not load torch"""
    unread: tuple[str, ...] = ()
    """keys of `MethodSpec` that the method does not read; a spec that sets one of them is refused"""
    before: Callable[[Spec, MethodSpec, Path], list[Job]] = _nothing_before
    """(spec, method, world folder) -> jobs that must be done before, beside those of the world. Equal names are equal
    jobs, which several methods and seeds share"""


def refuse_unread_keys(name: str, method: MethodSpec, unread: tuple[str, ...]) -> None:
    """Checks that a spec sets no key of a method that its kind would ignore.

    Args:
        name: name of the method in the spec.
        method: the method.
        unread: the keys that its kind does not read.

    Raises:
        InputError: it sets one.
    """
    for key in unread:
        if getattr(method, key) != MethodSpec.model_fields[key].get_default(call_default_factory=True):
            raise InputError(
                f'methods.{name}.{key.rstrip("_")}: a method of kind "{method.kind}" does not read this key\n'
                "remove the key, or choose another kind"
            )
