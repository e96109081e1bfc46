"""The check that runs inside the sandbox for the grader "evalplus": EvalPlus's own comparison of a program's outputs.

`evalplus.py` passes this file as the text of a `sandbox.Check` to the Python of our environment, where evalplus is
installed. The program itself ran before, in another sandbox: here a stand-in returns what it returned, so that no
program can touch the expected outputs, the comparison or the result.
"""

from __future__ import annotations

import os
import sys
import types
from typing import Any

STAND_IN = "stand_in_for_the_program"


def check_outcomes(dataset: str, problem: dict[str, Any], memory_mb: int, outcomes: Any) -> list[str]:
    """Checks one program.

    Args:
        dataset: EvalPlus's name of the benchmark, "humaneval" or "mbpp".
        problem: row of the benchmark's file, whose inputs have the types that the problem expects.
        memory_mb: MiB that EvalPlus may use for the comparison.
        outcomes: what the program returned for the benchmark's own inputs, and then for those of EvalPlus.

    Returns:
        The status on the benchmark's own inputs and on those of EvalPlus: "pass", "fail", "timeout" or
        "no grade: why".
    """
    os.environ["EVALPLUS_MAX_MEMORY_BYTES"] = str(memory_mb * 2**20)
    from evalplus.eval import untrusted_check
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS
    from evalplus.gen.util import trusted_exec

    entry = problem["entry_point"]
    not_none = dataset == "mbpp" and entry in MBPP_OUTPUT_NOT_NONE_TASKS
    base, statuses = len(problem["base_input"]), []
    for part, own in (("base_input", outcomes[:base]), ("plus_input", outcomes[base:])):
        inputs = problem[part]
        expected: Any
        seconds: Any
        try:
            reference = problem["prompt"] + problem["canonical_solution"]
            expected, seconds = trusted_exec(reference, inputs, entry, record_time=True, output_not_none=not_none)
        except (MemoryError, OSError) as error:
            statuses.append(f"no grade: the reference raises {type(error).__name__}")
            continue
        sys.modules[STAND_IN] = _stand_in(own)
        source = f"from {STAND_IN} import call as {entry}"
        statuses.append(
            untrusted_check(dataset, source, inputs, entry, expected, problem["atol"], seconds, fast_check=True)[0]
        )
    return statuses


def _stand_in(outcomes: Any) -> types.ModuleType:
    """A module with a function that returns, call by call, what the program returned, and fails where it failed."""
    turns, module = iter(outcomes), types.ModuleType(STAND_IN)

    def call(*arguments: Any) -> Any:
        outcome = next(turns)
        if outcome.status != "ok":
            raise RuntimeError(outcome.reason)
        return outcome.value

    module.call = call  # type: ignore[attr-defined]
    return module
