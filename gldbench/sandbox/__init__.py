"""Runs code that a model wrote: in a bubblewrap sandbox, one fresh process per program, outputs as plain values.

The sandbox shows the system's python3 and its libraries, read-only, and nothing else: no host files, no network, no
environment, no place to write, no other processes. The user is nobody, without capabilities; a filter takes dangerous
system calls away; time, memory, processes and output are bounded, and nothing outlives the call. Expected values
never enter a program's process: it emits outputs, and the caller compares them.
"""

from __future__ import annotations

from gldbench.sandbox.execute import Call, Limits, Outcome, Program, Result, run_programs
from gldbench.sandbox.inside import Opaque
from gldbench.sandbox.launch import UNSAFE, require, trouble, unsafe_code_allowed

__all__ = [
    "UNSAFE",
    "Call",
    "Limits",
    "Opaque",
    "Outcome",
    "Program",
    "Result",
    "require",
    "run_programs",
    "trouble",
    "unsafe_code_allowed",
]
