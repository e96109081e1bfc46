"""Runs code that a model wrote: in a bubblewrap sandbox, with one fresh process per program, and returns plain values.

A program sees the system's python3 and its libraries, and numpy, pandas, scipy and sympy where they are installed, all
read-only. It sees no other file of the host, no network, no environment variables and no other processes, and it can
write nowhere. It runs as a user without rights and without capabilities. A filter blocks dangerous system calls. Time,
memory, threads and output are limited. A program can start no other process, and nothing outlives the call.
Expected values never enter the process of a program: it writes its outputs, and a second process, the checker, reads
and compares them under limits of its own. The process that grades reads one short message of each checker.
"""

from __future__ import annotations

from gldbench.sandbox.execute import Call, Check, Checked, Program, Result, check_programs, run_programs
from gldbench.sandbox.launch import UNSAFE, offered, require, trouble, unsafe_code_allowed
from gldbench.sandbox.plain import Opaque, Outcome
from gldbench.sandbox.process import Limits

__all__ = [
    "UNSAFE",
    "Call",
    "Check",
    "Checked",
    "Limits",
    "Opaque",
    "Outcome",
    "Program",
    "Result",
    "check_programs",
    "offered",
    "require",
    "run_programs",
    "trouble",
    "unsafe_code_allowed",
]
