"""The GOLD loss of TRL as a subject. This package does not depend on trl: install it with --no-deps."""

from __future__ import annotations

import importlib
import warnings
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from gldfusion.conformance.cases import IGNORE, Case
from gldfusion.conformance.checks import Subject
from gldfusion.errors import InputError

MODULE = "trl.experimental.gold.gold_trainer"
DEFAULTS = {
    "uld_crossentropy_weight": 0.0,
    "uld_distillation_weight": 1.0,
    "uld_student_temperature": 1.0,
    "uld_teacher_temperature": 1.0,
    "uld_skip_student_eos": True,
    "uld_skip_teacher_eos": True,
    "uld_token_merge_strategy": "observed",
    "use_extended_uld": True,
    "uld_use_hybrid_loss": False,
}


def gold(**options: Any) -> Subject:
    """Wraps the ULD term of GOLD with byte offsets.

    TRL returns a mean over sequences of means over groups of tokens, so its unit is a sequence.

    Args:
        options: settings of GOLD. The others have TRL's defaults.

    Raises:
        InputError: trl is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = importlib.import_module(MODULE)
    except ImportError as error:
        raise InputError(f"{MODULE} cannot be imported ({error})\npip install --no-deps trl==1.16.0") from None
    loss = trainer.ULDLoss(SimpleNamespace(**DEFAULTS | options))

    def run(case: Case) -> Tensor:
        ours, theirs = case.pivot, case.source
        mean = loss(
            ours.logits,
            theirs.logits,
            ours.labels,
            theirs.labels,
            ours.ids,
            theirs.ids,
            ours.offsets,
            theirs.offsets,
        )
        return mean * count(case)

    def count(case: Case) -> int:
        return int((case.pivot.labels != IGNORE).any(-1).sum())

    named = "".join(f" {key}={value}" for key, value in options.items())
    return Subject(f"trl gold{named}", run, count)
