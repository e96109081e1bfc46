"""What one process does in one optimizer step. It depends on the step alone, so a thread can prepare it."""

from __future__ import annotations

from dataclasses import dataclass

from gldfusion.data import Batch, Role
from gldfusion.dealing import share_step
from gldfusion.prepare import Fusion


@dataclass(frozen=True)
class Work:
    """What one process does in one optimizer step."""

    chosen: list[int]
    """the examples of the step, those of all processes"""
    batches: list[Batch]
    """the micro-batches of this process, one for each forward pass"""
    sampling_tokens: int = 0
    """tokens that the pivot read and wrote before this step to sample responses; see `on_policy`"""


def prepare_step(fusion: Fusion, step: int, role: Role = "all") -> Work:
    """Chooses the examples of a step, and makes the micro-batches of this process, which have the given role."""
    settings, processes = fusion.recipe.train, fusion.accelerator.num_processes
    chosen = fusion.data.step(step, settings.batch_size, settings.seed)
    lengths = fusion.data.texts.lengths[chosen].tolist()
    shares = share_step(lengths, processes, micro_batch_size(fusion), packed=fusion.data.packer is not None)
    mine = shares[fusion.accelerator.process_index]
    return Work(chosen, [fusion.data.batch([chosen[i] for i in batch], role) for batch in mine])


def micro_batch_size(fusion: Fusion) -> int:
    """The most texts in a forward pass of one process."""
    settings = fusion.recipe.train
    return settings.micro_batch_size or settings.batch_size // fusion.accelerator.num_processes
