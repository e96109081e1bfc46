"""The machine of a plan: GPUs by name, such as 8xh200 or 4x8xh100, or this machine, whose speed is measured."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import one_line
from gldfusion.yaml_reader import read_yaml

HERE = "here"
FREE = 0.95
"""share of a GPU's memory that a plan may use: the rest is lost to pieces that are too small"""
CONTEXT = 1.0e9
"""bytes of a GPU that CUDA and its libraries take"""
INSIDE, BETWEEN = 300e9, 25e9
"""bytes per second at which gradients move between the GPUs of a node, and from one GPU to another node"""
_FORM = re.compile(r"(?:(\d+)x)?(?:(\d+)x)?([a-z0-9_]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Machine:
    """The machine of a plan. All processes of a training run on devices of one kind, one process on each."""

    name: str
    """as --hardware takes it"""
    title: str
    nodes: int
    per_node: int
    """devices of each node"""
    memory: float
    """bytes of one device that a process may use"""
    gpu: bool
    rate: float
    """FLOP/s that whole training steps reach on one device; 0: not measured yet"""
    source: str
    """a sentence: where the rate comes from"""

    @property
    def ranks(self) -> int:
        """Number of processes."""
        return self.nodes * self.per_node


def machine_named(name: str, precision: str) -> Machine:
    """The machine with this name.

    Args:
        name: "here", or such as h200, 8xh200 or 4x8xh100 (4 nodes with 8 GPUs each).
        precision: of the forward pass, "bf16" or "no".

    Raises:
        InputError: no such GPU is known.
    """
    if name == HERE:
        return this_machine()
    known = read_yaml(Path(__file__).parent / "hardware.yaml", "hardware")
    found = _FORM.fullmatch(name)
    kind = found[3].lower() if found else name
    if found is None or kind not in known["gpus"] or "0" in (found[1], found[2]):
        raise InputError(
            f'no hardware is called "{one_line(name, 60)}"{did_you_mean(kind, known["gpus"])}\n'
            f"expected here, or a GPU with numbers of nodes and GPUs before it, such as h200, 8xh200 or 4x8xh100\n"
            f"known: {', '.join(known['gpus'])}"
        )
    first, second = int(found[1] or 1), int(found[2] or 0)
    nodes, per_node = (first, second) if second else (1, first)
    gpu = known["gpus"][kind]
    rate, source = _rate(known, kind, precision)
    title = f"{f'{nodes} nodes with ' if nodes > 1 else ''}{per_node} x {gpu['title']}"
    return Machine(name.lower(), title, nodes, per_node, FREE * gpu["memory"] - CONTEXT, True, rate, source)


def _rate(known: dict[str, Any], kind: str, precision: str) -> tuple[float, str]:
    """FLOP/s of whole training steps, and where the number comes from."""
    base, measured, gpu = known["measured"]["gpu"], known["step_rate_of_h200"], known["gpus"][kind]
    h200 = known["gpus"][base]
    if precision == "bf16":
        rate = measured * gpu["bf16"] / h200["bf16"]
        source = f"{measured / 1e12:.0f} TFLOP/s, measured on one H200 in whole steps ({known['measured']['steps']})"
    else:
        rate = measured / h200["bf16"] * gpu["float32"]
        source = (
            f"the share of the data sheet's FLOP/s that bf16 steps reached on one H200 ({measured / h200['bf16']:.0%})"
        )
    if kind != base:
        source += f"; not measured on {gpu['title']}: scaled by the FLOP/s of the data sheets"
    return rate, source


def this_machine() -> Machine:
    """This machine: its GPUs, or one process on its processor. Its rate is not measured yet."""
    import torch

    if torch.cuda.is_available():
        count, about = torch.cuda.device_count(), torch.cuda.get_device_properties(0)
        memory = FREE * about.total_memory - CONTEXT
        return Machine(HERE, f"this machine, {count} x {about.name}", 1, count, memory, True, 0.0, "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    threads = torch.get_num_threads()
    return Machine(HERE, f"this machine, {threads} threads of its CPU", 1, 1, FREE * memory, False, 0.0, "")


def larger(machine: Machine) -> list[Machine]:
    """Machines that a plan may suggest instead, the cheapest first: more GPUs of the kind, or H200s."""
    if machine.name == HERE:
        return [machine_named(f"{n}xh200", "bf16") for n in (1, 2, 4, 8)]
    kind = machine.name.rpartition("x")[2]
    counts = [n for n in (1, 2, 4, 8) if n > machine.per_node] if machine.nodes == 1 else []
    more = [replace(machine_named(f"{n}x{kind}", "bf16"), rate=machine.rate, source=machine.source) for n in counts]
    nodes = [n for n in (2, 4, 8) if n > machine.nodes]
    return more + [
        replace(machine_named(f"{n}x8x{kind}", "bf16"), rate=machine.rate, source=machine.source) for n in nodes
    ]
