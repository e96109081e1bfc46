"""The memory of one process of a training, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gldbench.plan.figures import Figure
from gldbench.plan.hardware import Machine
from gldbench.plan.passes import Pass
from gldbench.plan.scratch import Kernel
from gldbench.plan.settings import BYTES, Settings, source_dtype
from gldfusion.recipe import SourceSpec

MOMENTS = {"adamw": 8, "adamw_8bit": 2, "sgd": 0}
"""bytes of the optimizer's state for each trained number"""
NF4 = 0.55
"""bytes of a weight in 4 bits, its share of the scales included"""


@dataclass(frozen=True)
class SourceMemory:
    """What a used source needs on the device on which it runs."""

    name: str
    resident: int
    """numbers of its weights that lie on the device: all, or with `offload` one layer and the output layer"""
    parameters: int
    """numbers of all its weights, which main memory holds with `offload` and on the CPU"""
    dtype: str
    states: int
    """numbers that one layer holds for each token, at most"""
    scratch: float
    """bytes that its output layer needs"""
    at_once: int
    """most tokens that it reads at once"""
    device: str | None = None
    """the device that the recipe names for it; None: that of the pivot"""

    def size(self, places: int) -> float:
        """Bytes of its weights, of the states of one layer for so many tokens, and of its output layer."""
        return float(self.resident + min(places, self.at_once) * self.states) * BYTES[self.dtype] + self.scratch


def parts(
    one: Pass,
    full: Pass,
    layers: int,
    live: Sequence[SourceMemory],
    settings: Settings,
    ranks: int,
    kernel: Kernel,
    libraries: float,
) -> list[Figure]:
    """The memory of one process, part by part. Their sum is the peak.

    Args:
        one: the pass of a micro-batch with the settings.
        full: the same pass without checkpointing.
        layers: number of layers of the pivot.
        live: sources that run beside the pivot.
        settings: the settings.
        ranks: number of processes.
        kernel: that of the output layer.
        libraries: bytes that Python and its libraries have before any model is loaded; 0 if they do not count.
    """
    share = ranks if settings.parallel == "fsdp" else 1
    part = f", divided by {share} processes" if share > 1 else ""
    size = BYTES[settings.dtype]
    moments, trained = MOMENTS[settings.optimizer], 4 if settings.lora else size
    frozen = one.parameters - one.trainable
    about = f"{trained} bytes for each trained parameter{part}"
    weights = float(trained * one.trainable)
    if settings.quantized:
        weights += NF4 * (frozen - one.outside) + size * one.outside
        about += f", {NF4} for each frozen one of a layer, {size} for each one of the embeddings and the output layer"
    elif frozen:
        weights += size * frozen
        about += f", {size} for each frozen one"
    found = [
        Figure("weights", weights / share, "B", about),
        Figure("gradients", trained * one.trainable / share, "B", f"{trained} bytes for each trained parameter{part}"),
        Figure(
            f"state of {settings.optimizer}",
            moments * one.trainable / share,
            "B",
            f"{moments} bytes for each trained parameter{part}",
        ),
        Figure("kept for the backward pass", one.kept, "B", _kept(one, settings)),
    ]
    if settings.checkpointing:
        about = "all layers kept, divided by their number"
        found.append(Figure("one layer computed again", full.kept / max(1, layers), "B", about))
    if settings.checkpointing and settings.autocast and settings.dtype == "float32":
        about = "of the layers: autocast keeps one copy until a pass ends"
        found.append(Figure("bf16 copies of the weights", 2.0 * (one.parameters - one.outside), "B", about))
    states = float(one.places * one.states * (2 if settings.autocast else size))
    about = "of the layer whose backward pass runs: three of the widest results of a layer, and four states"
    found.append(Figure("gradients of one layer's states", states, "B", about))
    if share > 1:
        each = size if settings.lora else size + trained
        whole = each * (one.outside + 2 * one.largest_layer)
        about = "embeddings and output layer, and two layers, whole" + (
            "" if settings.lora else " with their gradients"
        )
        found.append(Figure("gathered weights", whole, "B", about))
    copy = 2.0 * one.head if settings.autocast and settings.dtype == "float32" else 0.0
    about = f"scratch of the {kernel.name} kernel" + (" and a bf16 copy of the layer" if copy else "")
    found.append(Figure("output layer", kernel.training(one) + copy, "B", about))
    for source in live:
        about = f"its weights in {source.dtype}, and one layer's states"
        if source.resident < source.parameters:
            about = f"one layer and the output layer in {source.dtype} (offload), and one layer's states"
        if source.device is not None:
            about = f"0 here: the recipe runs it on the device {source.device}, whose memory is not planned"
        size = 0.0 if source.device else source.size(one.places)
        found.append(Figure(f"source {source.name}", size, "B", about))
    if libraries:
        found.append(Figure("Python and libraries", libraries, "B", "resident memory of this process"))
    return found


def _kept(one: Pass, settings: Settings) -> str:
    what = "inputs of layers only" if settings.checkpointing else "counted in a forward pass on fake tensors"
    copies = ", bf16 copies of the weights included" if settings.autocast and not settings.checkpointing else ""
    return f"{what}, for a micro-batch of {one.places:,} tokens{copies}"


def caching(cached: Sequence[SourceMemory], places: int, libraries: float) -> Figure | None:
    """The memory of a process that stores the logits of the largest cached source. None if no source is cached.

    Args:
        cached: the cached sources.
        places: tokens of the texts that are read at once.
        libraries: as in `parts`.
    """
    if not cached:
        return None
    largest = max(cached, key=lambda source: source.size(places))
    about = f"source {largest.name}: its weights in {largest.dtype}, and one layer's states of {places:,} tokens"
    return Figure("memory while caching", largest.size(places) + libraries, "B", about)


def source_memory(spec: SourceSpec, one: Pass, settings: Settings, kernel: Kernel, places: int) -> SourceMemory:
    """What a source needs on its device.

    Args:
        spec: the source in the recipe.
        one: its pass.
        settings: the settings, which may change those of the recipe.
        kernel: that of the output layer.
        places: most tokens that it reads at once.
    """
    return SourceMemory(
        name=spec.name,
        resident=one.head + one.largest_layer if spec.offload or settings.offload else one.parameters,
        parameters=one.parameters,
        dtype=source_dtype(spec, settings),
        states=one.states,
        scratch=kernel.reading(one, places),
        at_once=places,
        device=spec.device,
    )


def host_memory(
    machine: Machine, settings: Settings, base: int, live: Sequence[SourceMemory], cached: Sequence[SourceMemory]
) -> Figure:
    """The main memory of a node while models are loaded.

    Args:
        machine: the machine.
        settings: the settings.
        base: parameters of the pivot without adapters.
        live: sources that run beside the pivot.
        cached: the other sources.
    """

    def in_main_memory(source: SourceMemory) -> float:
        """Bytes of all processes of a node. The weights of most sources go from the files to the GPU."""
        held = source.resident < source.parameters or (source.device or "").startswith("cpu")
        return float(machine.per_node * source.parameters * BYTES[source.dtype]) if held else 0.0

    once = settings.parallel == "fsdp" and machine.ranks > 1
    pivot = base * BYTES[settings.dtype] * (1 if once else machine.per_node)
    beside = sum(map(in_main_memory, live))
    before = max(map(in_main_memory, cached), default=0.0)
    if max(beside, before) > pivot:
        about = "sources with offload or on the CPU are kept there by each process"
    elif once:
        about = (
            "that of the main process, which loads the whole pivot; with --fsdp_offload_params the parts come on top"
        )
    else:
        about = "each process loads the whole pivot" + (", and keeps sources there" if beside else "")
    size = max(pivot, beside, before) if once else max(pivot + beside, before)
    return Figure("host memory while loading", size, "B", f"of a node: {about}")


def saving_memory(machine: Machine, settings: Settings, trained: int) -> Figure:
    """The main memory of a node that holds a copy of the training state while threads write it.

    Args:
        machine: the machine.
        settings: the settings.
        trained: number of trained parameters.
    """
    each = (4 if settings.lora else BYTES[settings.dtype]) + MOMENTS[settings.optimizer]
    about = f"of a node: a copy of its parts, {each} bytes for each trained parameter, until they are written"
    return Figure("host memory while saving", each * trained / machine.nodes, "B", about)
