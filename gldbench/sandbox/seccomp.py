"""A filter of system calls for `bwrap --seccomp`, in the kernel's own bytecode (classic BPF).

It allows what `system_calls.py` lists, and refuses all else: memory that belongs to no process, sockets, new namespaces
and mounts, tracing, keys, and rarely used or new parts of the kernel. A refused call fails with ENOSYS, as on a kernel
that does not have it.
"""

from __future__ import annotations

import platform
import struct

from gldbench.sandbox.system_calls import ALLOWED, CLONE, FORKS

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_REFUSE, _LATER = 0x00050000 | 38, 0x00050000 | 11  # SECCOMP_RET_ERRNO with ENOSYS, and with EAGAIN
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_NEW_NAMESPACE = 0x7E020000
"""all flags CLONE_NEW* of the call clone. clone3 is refused: its flags are in memory, where a filter cannot read them,
and the C library then uses clone"""
_NEW_THREAD = 0x00010000
"""the flag CLONE_THREAD of the call clone: the new task is a thread, and no process"""
_X32 = 0x40000000
"""numbers from here on belong to the other calling convention of x86-64"""
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""machine -> (its place in the tables of numbers, its AUDIT_ARCH)"""


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def filter_program(machine: str | None = None, threads_only: bool = False) -> bytes | None:
    """The filter for a machine. None for machines that it does not know: there nothing is refused.

    Args:
        machine: as `platform.machine` names it. Default: this machine.
        threads_only: new threads are allowed, but new processes fail with EAGAIN.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        return None
    place, architecture = _MACHINES[machine]
    allowed = sorted(number for numbers in ALLOWED.values() if (number := numbers[place]) is not None)
    # (instruction, its value, where it goes if true, where it goes if false); "" goes to the next instruction
    checks: list[tuple[int, int, str, str]] = [
        (_LOAD, _ARCHITECTURE, "", ""),
        (_EQUAL, architecture, "", "refuse"),
        (_LOAD, _NUMBER, "", ""),
        (_AT_LEAST, _X32, "refuse", ""),
        *((_EQUAL, number, "allow", "") for number in allowed),
        *((_EQUAL, number, "later" if threads_only else "allow", "") for number in FORKS[place]),
        (_EQUAL, CLONE[place], "", "refuse"),
        (_LOAD, _FIRST_ARGUMENT, "", ""),
        (_ANY_BIT, _NEW_NAMESPACE, "refuse", ""),
    ]
    if threads_only:
        checks.append((_ANY_BIT, _NEW_THREAD, "", "later"))
    ends = {"allow": _ALLOW, "refuse": _REFUSE, "later": _LATER}

    def jump(place: int, label: str) -> int:
        return len(checks) + list(ends).index(label) - place - 1 if label else 0

    program = [
        _instruction(code, value, jump(place, if_true), jump(place, if_false))
        for place, (code, value, if_true, if_false) in enumerate(checks)
    ]
    return b"".join([*program, *(_instruction(_RETURN, value) for value in ends.values())])
