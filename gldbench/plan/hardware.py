"""The machine of a plan: GPUs by name, such as 8xh200 or 4x8xh100, or this machine, whose speed is measured."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
LINK_SHARE = 2 / 3
"""share of the data sheet's bytes per second that the traffic inside a node is assumed to reach"""
ADAPTER = 25e9
"""bytes per second of the network adapter that each GPU is assumed to have: 200 Gbit/s"""
UNKNOWN_LINK = 300e9
"""bytes per second between the GPUs of this machine, assumed"""
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
    traffic: float = UNKNOWN_LINK
    """bytes per second that a device sends, and at the same time receives, while all devices share something"""
    traffic_source: str = "assumed"
    """where `traffic` comes from"""
    rates: Mapping[str, float] = field(default_factory=dict)
    """type of a source's weights -> FLOP/s of one device; empty: those of `rate`"""

    def rate_of(self, dtype: str) -> float:
        """FLOP/s that a forward pass with weights of this type reaches on one device."""
        return self.rates.get(dtype, self.rate)

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
    half, single = (_rate(known, kind, name)[0] for name in ("bf16", "no"))
    traffic, why = _traffic(gpu["link"], nodes, per_node)
    return Machine(
        name=name.lower(),
        title=f"{f'{nodes} nodes with ' if nodes > 1 else ''}{per_node} x {gpu['title']}",
        nodes=nodes,
        per_node=per_node,
        memory=FREE * gpu["memory"] - CONTEXT,
        gpu=True,
        rate=rate,
        source=source,
        traffic=traffic,
        traffic_source=why,
        rates={"float32": single, "bfloat16": half, "float16": half},
    )


def _traffic(link: float, nodes: int, per_node: int) -> tuple[float, str]:
    """Bytes per second of one device while all devices share something, and where the number comes from.

    In a ring, or in several rings side by side, each device sends as much as it receives. Between nodes, the adapters
    of all GPUs of a node carry the parts together.
    """
    inside = LINK_SHARE * link
    if nodes == 1:
        return inside, f"{inside / 1e9:.0f} GB/s of each GPU, assumed: two thirds of the data sheet's link"
    between = per_node * ADAPTER
    if between < inside:
        about = f"{per_node} adapters of {8 * ADAPTER / 1e9:.0f} Gbit/s in each node, one for each GPU"
        return between, f"{between / 1e9:.0f} GB/s, assumed: {about}"
    return inside, f"{inside / 1e9:.0f} GB/s of each GPU, assumed: two thirds of the data sheet's link"


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
    counts = [f"{n}x{kind}" for n in (2, 4, 8) if n > machine.per_node] if machine.nodes == 1 else []
    nodes = [f"{n}x8x{kind}" for n in (2, 4, 8) if n > machine.nodes]
    found = [machine_named(name, "bf16") for name in [*counts, *nodes]]
    return [replace(one, rate=machine.rate, source=machine.source) for one in found]
