"""The work of a fusion: tokens, FLOPs and hours of the pivot, of its sources, and of the traffic between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gldbench.plan.figures import Figure
from gldbench.plan.hardware import Machine
from gldbench.plan.passes import Pass
from gldbench.plan.settings import BYTES, Settings


@dataclass(frozen=True)
class SourceWork:
    """One used source."""

    name: str
    forward: float
    """FLOPs of its forward pass for one token"""
    cached: bool
    dtype: str
    """type of its weights"""
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
    rounds: int,
) -> list[Figure]:
    """FLOPs and hours of a training and of its caches.

    Args:
        steps: optimizer steps.
        step_tokens: tokens of each step, over all processes.
        pivot: the pass of one micro-batch.
        sources: the used sources.
        settings: the settings.
        machine: the machine; its rate is known.
        rounds: micro-batches of each process in a step.
    """
    tokens = steps * step_tokens
    forward = (pivot.flops + pivot.output_flops) / pivot.places
    times, why = _times(settings)
    live = [source for source in sources if not source.cached]
    cached = [source for source in sources if source.cached]
    seconds = times * forward / machine.rate + sum(s.forward / machine.rate_of(s.dtype) for s in live)
    hours = tokens * seconds / machine.ranks / 3600
    reading = sum(s.forward * s.texts_tokens / machine.rate_of(s.dtype) for s in cached) / machine.ranks / 3600
    traffic = steps * _moved(pivot, settings, machine.ranks, rounds) / machine.traffic / 3600
    beside = f" The sources run beside the pivot{_at(live, machine)}." if live else ""
    return [
        Figure("steps", steps, "steps", "train.steps, or train.epochs times the texts by train.batch_size"),
        Figure("tokens of the training", tokens, "tokens", "steps times train.batch_size times the mean text"),
        Figure("FLOPs of the pivot", tokens * times * forward, "FLOP", why),
        Figure(
            "FLOPs of live sources",
            tokens * sum(s.forward for s in live),
            "FLOP",
            "one forward pass for each token, counted alike",
        ),
        Figure(
            "FLOPs of caches",
            sum(s.forward * s.texts_tokens for s in cached),
            "FLOP",
            "one forward pass of each cached source for each text, once; as many tokens as the pivot's",
        ),
        Figure("hours of the training", hours + traffic, "h", f"{machine.source}.{beside}"),
        Figure(
            "hours of traffic, in them",
            traffic,
            "h",
            f"{machine.traffic_source}; none of it is hidden behind the computation"
            if machine.ranks > 1
            else "1 process",
        ),
        Figure(
            "hours of caches",
            reading,
            "h",
            f"all devices at work{_at(cached, machine)}, the rates of training steps; forward passes were not measured"
            if cached
            else "no source is cached",
        ),
    ]


def _times(settings: Settings) -> tuple[float, str]:
    """FLOPs of a step, in forward passes, and why."""
    back, what = (1.0, "the backward pass of adapters takes 1") if settings.lora else (2.0, "the backward pass takes 2")
    again = 1.0 if settings.checkpointing else 0.0
    why = f"counted in a forward pass on fake tensors, attention and output layer included; {what} times as many"
    return 1 + back + again, f"{why}, and checkpointing 1 more" if again else why


def _at(sources: Sequence[SourceWork], machine: Machine) -> str:
    """At which rate sources run, in words."""
    if not machine.rates:
        return ", at the same rate"
    rates = {source.dtype: machine.rate_of(source.dtype) for source in sources}
    return "".join(f", in {dtype} at {rate / 1e12:.3g} TFLOP/s" for dtype, rate in sorted(rates.items()))


def _moved(pivot: Pass, settings: Settings, ranks: int, rounds: int) -> float:
    """Bytes that each device sends in a step, in rings.

    With ddp all processes add their gradients once, which sends each number twice. With fsdp the layers are gathered
    for the forward pass and again for the backward pass of every micro-batch, the embeddings and the output layer once,
    and gradients are added in float32 after every micro-batch.
    """
    size, share = BYTES[settings.dtype], (ranks - 1) / ranks
    if settings.parallel == "ddp":
        return 2 * share * (4 if settings.lora else size) * pivot.trainable
    gathered = size * (2 * (pivot.parameters - pivot.outside) + pivot.outside)
    return rounds * share * (gathered + 4 * pivot.trainable)
