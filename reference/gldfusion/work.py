"""What one process does in one optimizer step. It depends on the step alone, so a thread can prepare it."""

from __future__ import annotations

from dataclasses import dataclass

from gldfusion.data import Batch
from gldfusion.packing import share_step
from gldfusion.prepare import Fusion


@dataclass(frozen=True)
class Work:
    """What one process does in one optimizer step."""

    chosen: list[int]
    """the examples of the step, those of all processes"""
    batches: list[Batch]
    """the micro-batches of this process, one for each forward pass"""


def prepare_step(fusion: Fusion, step: int) -> Work:
    """Chooses the examples of a step, and makes the micro-batches of this process."""
    settings, processes = fusion.recipe.train, fusion.accelerator.num_processes
    chosen = fusion.data.step(step, settings.batch_size, settings.seed)
    lengths = [len(fusion.data.encoded[i].ids) for i in chosen]
    size = settings.micro_batch_size or len(chosen) // processes
    shares = share_step(lengths, processes, size, packed=fusion.data.packer is not None)
    mine = shares[fusion.accelerator.process_index]
    return Work(chosen, [fusion.data.batch([chosen[i] for i in batch]) for batch in mine])
