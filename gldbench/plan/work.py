"""The work of a fusion: tokens, FLOPs and hours of the pivot, of its sources, and of the traffic between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gldbench.plan.figures import Figure
from gldbench.plan.hardware import BETWEEN, INSIDE, Machine
from gldbench.plan.passes import Pass
from gldbench.plan.settings import BYTES, Settings


@dataclass(frozen=True)
class SourceWork:
    """One used source."""

    name: str
    forward: float
    """FLOPs of its forward pass for one token"""
    cached: bool
    texts_tokens: float
    """tokens of all texts, which a cache reads once"""


def work_of_step(tokens: float, pivot: Pass, sources: Sequence[SourceWork], settings: Settings) -> float:
    """FLOPs of one optimizer step with so many tokens, those of live sources included."""
    times, _ = _times(settings)
    live = sum(source.forward for source in sources if not source.cached)
    return tokens * (times * (pivot.flops + pivot.output_flops) / pivot.places + live)


def work(
    steps: int,
    step_tokens: float,
    pivot: Pass,
    sources: Sequence[SourceWork],
    settings: Settings,
    machine: Machine,
) -> list[Figure]:
    """FLOPs and hours of a training and of its caches.

    Args:
        steps: optimizer steps.
        step_tokens: tokens of each step, over all processes.
        pivot: the pass of one micro-batch.
        sources: the used sources.
        settings: the settings.
        machine: the machine; its rate is known.
    """
    tokens = steps * step_tokens
    forward = (pivot.flops + pivot.output_flops) / pivot.places
    times, why = _times(settings)
    live = sum(s.forward for s in sources if not s.cached)
    cached = sum(s.forward * s.texts_tokens for s in sources if s.cached)
    moved = _moved(pivot, settings, machine)
    step_flops = work_of_step(step_tokens, pivot, sources, settings)
    hours = steps * step_flops / machine.rate / machine.ranks / 3600
    beside = " The sources run beside the pivot, at the same rate." if live else ""
    traffic = steps * moved / 3600
    return [
        Figure("steps", steps, "steps", "train.steps, or train.epochs times the texts by train.batch_size"),
        Figure("tokens of the training", tokens, "tokens", "steps times train.batch_size times the mean text"),
        Figure("FLOPs of the pivot", tokens * times * forward, "FLOP", why),
        Figure("FLOPs of live sources", tokens * live, "FLOP", "one forward pass for each token, counted alike"),
        Figure("FLOPs of caches", cached, "FLOP", "one forward pass of each cached source for each text, once"),
        Figure("hours of the training", hours + traffic, "h", f"{machine.source}.{beside}"),
        Figure(
            "hours of traffic, in them",
            traffic,
            "h",
            f"{INSIDE / 1e9:.0f} GB/s in a node, {BETWEEN / 1e9:.0f} GB/s between nodes, assumed",
        ),
        Figure(
            "hours of caches",
            cached / machine.rate / machine.ranks / 3600,
            "h",
            "the same rate, with all devices at work; without a backward pass it may be higher, which is not measured",
        ),
    ]


def _times(settings: Settings) -> tuple[float, str]:
    """FLOPs of a step, in forward passes, and why."""
    back, what = (1.0, "the backward pass of adapters takes 1") if settings.lora else (2.0, "the backward pass takes 2")
    again = 1.0 if settings.checkpointing else 0.0
    why = f"counted in a forward pass on fake tensors, attention and output layer included; {what} times as many"
    return 1 + back + again, f"{why}, and checkpointing 1 more" if again else why


def _moved(pivot: Pass, settings: Settings, machine: Machine) -> float:
    """Seconds of a step in which gradients, and with fsdp weights, move between devices."""
    n = machine.ranks
    if n == 1:
        return 0.0
    size = 4 if settings.lora else BYTES[settings.dtype]
    ring = 2 * (n - 1) / n * size * pivot.trainable  # an all-reduce: each device sends and gets its part twice
    gathered = 2 * (n - 1) / n * BYTES[settings.dtype] * pivot.parameters if settings.parallel == "fsdp" else 0.0
    return (ring + gathered) / (INSIDE if machine.nodes == 1 else BETWEEN)
