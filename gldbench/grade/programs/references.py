"""Runs a benchmark's own programs, in the sandbox like all others, once per process."""

from __future__ import annotations

from collections.abc import Sequence

from gldbench.sandbox import Limits, Program, Result, run_programs

GENEROUS = Limits(cpu_seconds=120, wall_seconds=600, memory_mb=4096, output_bytes=256 * 2**20)

_known: dict[str, Result] = {}
"""by the program's whole text and calls: several checkpoints are graded in one process"""


def run_references(programs: Sequence[Program]) -> list[Result]:
    """As `run_programs`; a program that was run before is not run again."""
    keys = [repr(program) for program in programs]
    new = {key: program for key, program in zip(keys, programs, strict=True) if key not in _known}
    _known.update(zip(new, run_programs(list(new.values())), strict=True))
    return [_known[key] for key in keys]
