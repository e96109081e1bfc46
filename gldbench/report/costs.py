"""What each method costs: the training of the pivot, the passes of the sources, their stored logits, and inference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gldbench.report import names
from gldbench.report.training import Training

FORWARD = 2
"""FLOPs of a forward pass for each parameter and token"""
UNTRAINED = ("soup", "merge", "fisher", "dynamic_logits_fusion")
"""kinds of methods that combine models and train none"""
TRAINING = 6
"""FLOPs of a forward and a backward pass for each parameter and token, as the training totals count them"""


@dataclass(frozen=True)
class Cost:
    """The cost of one checkpoint of a method, as the mean over seeds and worlds. None: not logged."""

    method: str
    pivot_flops: float
    """training of the pivot"""
    source_flops: float
    """one forward pass of each source over the trained tokens, or the writing of responses. Both are stored, and serve
    all methods and seeds, except with `k: full` or `on_policy`, where the sources run beside the pivot. In the second
    case it is a pass over the labels' tokens too, and so an upper bound. For methods that combine specialists, the
    training of these: they serve nothing else"""
    seconds: float | None
    peak_memory_bytes: float | None
    cache_bytes: float
    """stored logits of its sources"""
    inference_models: float
    """models that run for each token of an answer"""

    @property
    def flops(self) -> float:
        """FLOPs of the pivot and of the sources."""
        return self.pivot_flops + self.source_flops


def costs(
    trained: Sequence[Training], spec: Mapping[str, Any], weights: Mapping[str, float] = MappingProxyType({})
) -> tuple[Cost, ...]:
    """The cost of each fused method whose FLOPs were logged.

    Args:
        trained: the training totals of all methods and models.
        spec: the parsed spec.yaml of the run.
        weights: method -> tuned weight of its own terms. With weight 0 they read no source.
    """
    totals = {t.method: {name: spread.mean for name, spread in t.totals.items()} for t in trained}
    found = []
    for training in trained:
        own = totals[training.method]
        if names.group_of(training.method) == "reference" or not {"flops", "tokens"} <= own.keys():
            continue
        sources = [totals[s] for s in sources_of(training.method, spec, weights) if totals.get(s, {}).get("tokens")]
        stored = not setting_of("on_policy", training.method, spec) and setting_of("k", training.method, spec) != "full"
        parameters = sum(source["flops"] / (TRAINING * source["tokens"]) for source in sources)
        found.append(
            Cost(
                method=training.method,
                pivot_flops=own["flops"],
                source_flops=FORWARD * parameters * own["tokens"]
                + own.get("source_flops", 0.0)
                + sum(totals[name].get("flops", 0.0) for name in _specialists(training.method, totals, spec)),
                seconds=own.get("seconds"),
                peak_memory_bytes=own.get("peak_memory_bytes"),
                cache_bytes=sum(source.get("cache_bytes", 0.0) for source in sources) if stored else 0.0,
                inference_models=own.get("inference_models", 1.0),
            )
        )
    return tuple(found)


def _specialists(method: str, trained: Iterable[str], spec: Mapping[str, Any]) -> list[str]:
    """The models that a method combines; none if it is trained."""
    if setting_of("kind", method, spec) not in UNTRAINED:
        return []
    named = setting_of("sources", method, spec)
    return [name for name in trained if names.is_specialist(name) and (not named or name in named)]


def sources_of(
    method: str, spec: Mapping[str, Any], weights: Mapping[str, float] = MappingProxyType({})
) -> tuple[str, ...]:
    """The models whose logits a method reads, its own or those of the method that it takes terms from.

    Arguments as for `costs`.
    """
    if setting_of("kind", method, spec) == "sequence_kd":  # it reads responses, whose cost is in its totals
        return ()
    named = setting_of("sources", method, spec)
    if not setting_of("terms", method, spec):
        return tuple(named or ())
    return tuple(named or spec["world"]["sources"]) if _has_terms(method, spec, weights) else ()


def _has_terms(method: str, spec: Mapping[str, Any], weights: Mapping[str, float]) -> bool:
    """Whether a method is trained with terms: its own, unless the tuning turned them off, or those of its base."""
    settings = spec["methods"].get(method, {})
    base = settings.get("like") or settings.get("adds_to")
    own = bool(settings.get("terms")) and weights.get(method) != 0
    return own or (base is not None and _has_terms(base, spec, weights))


def setting_of(key: str, method: str, spec: Mapping[str, Any]) -> Any:
    """A setting of a method, or of the method that it takes its settings from. None: neither has it."""
    settings = spec["methods"].get(method, {})
    base = settings.get("like") or settings.get("adds_to")
    return settings.get(key) or (setting_of(key, base, spec) if base else None)


def frontier(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The methods that no other method beats in both cost and score, by rising cost.

    Args:
        points: method -> (cost, score).
    """
    best: list[str] = []
    for method in sorted(points, key=lambda m: (points[m][0], -points[m][1])):
        if not best or points[method][1] > points[best[-1]][1]:
            best.append(method)
    return best
