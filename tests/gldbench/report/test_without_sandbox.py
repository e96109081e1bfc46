"""A run without a sandbox says at its end how many answers that concerns."""

from __future__ import annotations

import dataclasses

from gldbench.commands.report import without_sandbox
from gldbench.sandbox import UNSAFE
from tests.gldbench.test_store import row


def test_answers_are_counted_once_whatever_the_number_of_their_graders() -> None:
    unsafe = [
        dataclasses.replace(row(item), grader=g, reason=f"x; {UNSAFE}") for item in "ab" for g in ("ours", "lm_eval")
    ]
    assert without_sandbox([row("1"), *unsafe]) == (
        "2 answers, which are programs, were run without a sandbox, and their rows say so; "
        "`sudo make system` installs what a sandbox needs"
    )
    assert without_sandbox([row("1")]) == ""
