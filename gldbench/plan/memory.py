"""The memory of one process of a training, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gldbench.plan.figures import Figure
from gldbench.plan.passes import Pass
from gldbench.plan.settings import BYTES, Settings

SCRATCH = {"cpu": 0.15e9, "chunked": 1.6e9, "triton": 0.3e9}
"""bytes that the output layer's kernel needs; those of a GPU are measured (reports/gpu/gpu_report.csv, H200)"""
MOMENTS = {"adamw": 8, "adamw_8bit": 2, "sgd": 0}
"""bytes of the optimizer's state for each trained number"""
NF4 = 0.55
"""bytes of a weight in 4 bits, its share of the scales included"""


@dataclass(frozen=True)
class Live:
    """A source that runs beside the pivot."""

    name: str
    parameters: int
    dtype: str
    width: int
    """of its hidden states"""


def parts(
    one: Pass,
    full: Pass,
    layers: int,
    live: Sequence[Live],
    settings: Settings,
    ranks: int,
    kernel: str,
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
        kernel: key of SCRATCH.
        libraries: bytes that Python and its libraries have before any model is loaded; 0 if they do not count.
    """
    share = ranks if settings.parallel == "fsdp" else 1
    part = f", divided by {share} processes" if share > 1 else ""
    size = BYTES[settings.dtype]
    moments, trained = MOMENTS[settings.optimizer], 4 if settings.lora else size
    frozen = one.parameters - one.trainable
    weights = trained * one.trainable + (NF4 if settings.quantized else size) * frozen
    about = f"{trained} bytes for each trained parameter{part}"
    if frozen:
        about += f", {NF4 if settings.quantized else size:g} for each frozen one"
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
        copies = 2.0 * (one.parameters - one.head) if settings.autocast and settings.dtype == "float32" else 0.0
        found.append(
            Figure(
                "one layer computed again", full.kept / max(1, layers), "B", "all layers kept, divided by their number"
            )
        )
        found.append(Figure("bf16 copies of the weights", copies, "B", "autocast keeps one copy until a pass ends"))
    if share > 1:
        whole = (size + trained) * (one.outside + 2 * one.largest_layer)
        about = "embeddings and output layer, and two layers, whole with their gradients"
        found.append(Figure("gathered weights", whole, "B", about))
    head = 2.0 * one.head if settings.autocast else 0.0
    found.append(
        Figure(
            "output layer", SCRATCH[kernel] + head, "B", f"scratch of the {kernel} kernel and a bf16 copy of the layer"
        )
    )
    for source in live:
        weights = source.parameters * BYTES[source.dtype]
        beside = 16.0 * one.places * source.width * BYTES[source.dtype]
        found.append(
            Figure(
                f"source {source.name}", weights + beside, "B", f"its weights in {source.dtype}, and one layer's states"
            )
        )
    if libraries:
        found.append(Figure("Python and libraries", libraries, "B", "resident memory of this process"))
    return found


def _kept(one: Pass, settings: Settings) -> str:
    what = "inputs of layers only" if settings.checkpointing else "counted in a forward pass on fake tensors"
    copies = ", bf16 copies of the weights included" if settings.autocast and not settings.checkpointing else ""
    return f"{what}, for a micro-batch of {one.places:,} tokens{copies}"
