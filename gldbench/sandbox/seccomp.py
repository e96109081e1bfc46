"""A filter of system calls for `bwrap --seccomp`, in the kernel's own bytecode (classic BPF).

It blocks what namespaces and limits do not: memory that belongs to no process (System V segments and queues, which
outlive their process and do not count for RLIMIT_AS), sockets, new namespaces and mounts, tracing, keys, and rarely
used parts of the kernel. A blocked call fails with ENOSYS. The numbers of the calls are from the Linux files
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import platform
import struct

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_REFUSE, _LATER = 0x00050000 | 38, 0x00050000 | 11  # SECCOMP_RET_ERRNO with ENOSYS, and with EAGAIN
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_NEW_NAMESPACE = 0x7E020000
"""all flags CLONE_NEW* of the call clone"""
_X32 = 0x40000000
"""numbers from here on belong to the other calling convention of x86-64"""

# machine -> (its AUDIT_ARCH, the number of clone, the blocked calls and their numbers)
_TABLES: dict[str, tuple[int, int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        56,
        {
            "shmget": 29, "shmat": 30, "shmctl": 31, "socket": 41, "semget": 64, "msgget": 68, "ptrace": 101,
            "syslog": 103, "personality": 135, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165,
            "umount2": 166, "swapon": 167, "reboot": 169, "init_module": 175, "io_setup": 206, "mq_open": 240,
            "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
            "perf_event_open": 298, "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304,
            "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "memfd_create": 319,
            "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
        },
    ),
    "aarch64": (
        0xC00000B7,
        220,
        {
            "io_setup": 0, "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "acct": 89, "personality": 92,
            "unshare": 97, "kexec_load": 104, "init_module": 105, "syslog": 116, "ptrace": 117, "reboot": 142,
            "mq_open": 180, "msgget": 186, "semget": 190, "shmget": 194, "shmctl": 195, "shmat": 196, "socket": 198,
            "add_key": 217, "request_key": 218, "keyctl": 219, "swapon": 224, "perf_event_open": 241,
            "fanotify_init": 262, "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268,
            "process_vm_readv": 270, "process_vm_writev": 271, "finit_module": 273, "memfd_create": 279, "bpf": 280,
            "userfaultfd": 282, "kexec_file_load": 294,
        },
    ),
}  # fmt: skip
# Blocked calls with the same number on all machines: io_uring, pidfd_open, clone3, pidfd_getfd, open_tree to fspick,
# mount_setattr, memfd_secret. The flags of clone3 are in memory, where a filter cannot read them; without clone3 the C
# library uses clone.
_COMMON = (425, 426, 427, 434, 435, 438, 428, 429, 430, 431, 432, 433, 442, 447)


_FORKS = {"x86_64": (57, 58), "aarch64": ()}
"""machine -> the numbers of fork and vfork, where it has them"""
_NEW_THREAD = 0x00010000
"""the flag CLONE_THREAD of the call clone: the new task is a thread, and no process"""


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def filter_program(machine: str | None = None, threads_only: bool = False) -> bytes | None:
    """The filter for a machine. None for machines that it does not know: there nothing is blocked.

    Args:
        machine: as `platform.machine` names it. Default: this machine.
        threads_only: new threads are allowed, but new processes fail with EAGAIN.
    """
    machine = machine or platform.machine()
    table = _TABLES.get(machine)
    if table is None:
        return None
    architecture, clone, refused = table
    forks = _FORKS[machine] if threads_only else ()
    # (instruction, its value, where it goes if true, where it goes if false); "" goes to the next instruction
    checks: list[tuple[int, int, str, str]] = [
        (_LOAD, _ARCHITECTURE, "", ""),
        (_EQUAL, architecture, "", "refuse"),
        (_LOAD, _NUMBER, "", ""),
        (_AT_LEAST, _X32, "refuse", ""),
        *((_EQUAL, number, "refuse", "") for number in (*sorted(refused.values()), *_COMMON)),
        *((_EQUAL, number, "later", "") for number in forks),
        (_EQUAL, clone, "", "allow"),
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
