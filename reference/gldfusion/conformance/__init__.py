"""Checks of distillation losses, ours and those of other projects.

Each check covers one known trap: a loss with this bug does not pass it.

    python -m gldfusion.conformance [--gold] [--json]

To check a loss, wrap it in a `Subject`: functions that compute its sum and its count of units from a `Case`, that is
from whole, unshifted sequences.
"""

from gldfusion.conformance.cases import Case, Side
from gldfusion.conformance.checks import CHECKS, CheckError, Subject, applies
from gldfusion.conformance.report import Result, conformance

__all__ = ["CHECKS", "Case", "CheckError", "Result", "Side", "Subject", "applies", "conformance"]
