"""Makes the plan of a fusion: its figures, the memory of one process, and whether it fits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from gldbench.plan.disk import STORED, caches_on_disk, disk
from gldbench.plan.figures import Figure
from gldbench.plan.hardware import Machine
from gldbench.plan.here import libraries, standard_rate, try_fusion
from gldbench.plan.memory import SourceMemory, caching, host_memory, parts, saving_memory, source_memory
from gldbench.plan.models import Found, configuration
from gldbench.plan.passes import Pass, Shape, measure
from gldbench.plan.scratch import kernel_of
from gldbench.plan.settings import BYTES, Settings, source_dtype
from gldbench.plan.texts import Texts, texts_of
from gldbench.plan.work import SourceWork, work, work_of_step
from gldfusion.checkpoint import stored_dtype
from gldfusion.errors import require_known
from gldfusion.prepare import check_batch_size, require_shardable
from gldfusion.recipe import Recipe, steps_of
from gldfusion.sources import TOKENS_AT_ONCE

PIVOT = "pivot"
READ_AT_ONCE = 64
"""most texts that a source reads at once, together at most `TOKENS_AT_ONCE` tokens (`gldfusion.sources.LiveSource`)"""


@dataclass(frozen=True)
class Plan:
    """The plan of one fusion on one machine."""

    recipe: str
    machine: Machine
    settings: Settings
    models: Mapping[str, str]
    """model -> where its configuration comes from"""
    figures: tuple[Figure, ...]
    memory: tuple[Figure, ...]
    """parts of the memory of one process"""
    caching: Figure | None
    """the memory of a process that fills the largest cache; None if no source is cached"""

    @property
    def peak(self) -> float:
        """Bytes of one process."""
        return sum(part.value for part in self.memory)

    @property
    def fits(self) -> bool:
        """Whether one process fits its device, in the training and before it, when caches are filled."""
        return max(self.peak, self.caching.value if self.caching else 0.0) <= self.machine.memory

    def value(self, name: str) -> float:
        """The value of a figure."""
        return next(figure.value for figure in self.figures if figure.name == name)


@dataclass(frozen=True)
class Inputs:
    """What a plan reads once, for all changes that it may try."""

    recipe: Recipe
    texts: Texts
    pivot: Found
    sources: Mapping[str, Found]


def read_inputs(recipe: Recipe, models: Mapping[str, str], examples: int | None, tokens: float | None) -> Inputs:
    """Reads the configurations of all models, and counts the texts.

    Args:
        recipe: the recipe.
        models: pivot or name of a source -> configuration to take instead of its own.
        examples: as in `texts_of`.
        tokens: as in `texts_of`.

    Raises:
        InputError: a model has no configuration, or the texts cannot be counted.
    """
    names = [PIVOT, *(source.name for source in recipe.used_sources)]
    for name in models:
        require_known("model", name, names)
    find = partial(configuration, trust_remote_code=recipe.trust_remote_code)
    pivot = find(recipe.pivot, models.get(PIVOT))
    sources = {s.name: find(s.checkpoint, models.get(s.name)) for s in recipe.used_sources}
    return Inputs(recipe, texts_of(recipe, examples, tokens), pivot, sources)


def make_plan(inputs: Inputs, machine: Machine, settings: Settings) -> Plan:
    """Computes the plan of a fusion.

    Args:
        inputs: the recipe, its texts and its models.
        machine: the machine.
        settings: the settings of the recipe, or changed ones.

    Raises:
        InputError: a model cannot be built from its configuration, or the recipe cannot be trained by so many processes
            or shared in this way.
    """
    recipe, texts = inputs.recipe, inputs.texts
    check_batch_size(recipe.train, machine.ranks)
    if settings.parallel == "fsdp" and machine.ranks > 1:
        require_shardable(recipe)
    shape = _shape(inputs, settings)
    pivot = measure(inputs.pivot.config, shape)
    full = measure(inputs.pivot.config, replace(shape, checkpointing=False)) if settings.checkpointing else pivot
    sources = {name: measure(found.config, _source_shape(inputs, found)) for name, found in inputs.sources.items()}
    stored = 0.0 if machine.gpu else _libraries()  # before a model is made for the measurement of the rate
    specs = {source.name: source for source in recipe.used_sources}
    beside = [name for name in sources if specs[name].cache is None and not settings.cached]
    length = texts.examples * texts.mean
    jobs = [
        SourceWork(n, (p.flops + p.output_flops) / p.places, n not in beside, source_dtype(specs[n], settings), length)
        for n, p in sources.items()
    ]
    machine = _with_rate(inputs, machine, settings, pivot, jobs)
    kernel = kernel_of(recipe, machine)
    read = min(texts.largest_batch(READ_AT_ONCE), max(TOKENS_AT_ONCE, texts.longest))
    held = {name: source_memory(specs[name], one, settings, kernel, read) for name, one in sources.items()}
    live = [held[name] for name in beside]
    cached = [source for name, source in held.items() if name not in beside]
    layers = int(inputs.pivot.config.get_text_config().num_hidden_layers)
    return Plan(
        recipe=recipe.name,
        machine=machine,
        settings=settings,
        models={PIVOT: inputs.pivot.origin, **{name: found.origin for name, found in inputs.sources.items()}},
        figures=tuple(_figures(inputs, machine, settings, pivot, sources, jobs, live, cached)),
        memory=tuple(parts(pivot, full, layers, live, settings, machine.ranks, kernel, stored)),
        caching=caching(cached, read, stored),
    )


def _figures(
    inputs: Inputs,
    machine: Machine,
    settings: Settings,
    pivot: Pass,
    sources: Mapping[str, Pass],
    jobs: Sequence[SourceWork],
    live: Sequence[SourceMemory],
    cached: Sequence[SourceMemory],
) -> list[Figure]:
    """The figures of a plan that are no part of a device's memory."""
    recipe, texts = inputs.recipe, inputs.texts
    steps, step_tokens = steps_of(recipe.train, texts.examples), recipe.train.batch_size * texts.mean
    rounds = -(-recipe.train.batch_size // (machine.ranks * settings.micro_batch))
    base = pivot.parameters - (pivot.trainable if settings.lora else 0)
    caches = caches_on_disk(
        texts.examples * texts.mean * len(cached), 0 if recipe.k == "full" else recipe.k, _columns(recipe)
    )
    counted = "counted in the model that transformers builds"
    found = [
        *(
            Figure(f"parameters of {n}", p.parameters, "parameters", counted)
            for n, p in {PIVOT: pivot, **sources}.items()
        ),
        Figure("trained parameters", pivot.trainable, "parameters", _trained(settings)),
        Figure("texts", texts.examples, "texts", texts.source),
        Figure("tokens of a text", texts.mean, "tokens", texts.source),
        *work(steps, step_tokens, pivot, jobs, settings, machine, rounds),
        *disk(
            pivot,
            base,
            _stored(recipe),
            [p.parameters for p in sources.values()],
            caches,
            settings,
            recipe.train,
            steps,
        ),
    ]
    if recipe.train.on_policy is not None:
        written = float(steps * recipe.train.batch_size * recipe.train.on_policy.max_tokens)
        about = "at most; neither the time nor the FLOPs of writing them are in this plan"
        found.append(Figure("tokens that the pivot writes", written, "tokens", about))
    if machine.gpu:
        found.append(host_memory(machine, settings, base, live, cached))
        if settings.parallel == "fsdp" and machine.ranks > 1:
            found.append(saving_memory(machine, settings, pivot.trainable))
    return found


def _with_rate(
    inputs: Inputs, machine: Machine, settings: Settings, pivot: Pass, jobs: Sequence[SourceWork]
) -> Machine:
    """The machine with its rate, which is measured now if it is this machine."""
    if machine.rate:
        return machine
    recipe, texts = inputs.recipe, inputs.texts
    flops = work_of_step(recipe.train.batch_size * texts.mean, pivot, jobs, settings)
    rate, source = try_fusion(recipe, pivot, texts.examples, flops) or standard_rate(recipe)
    return replace(machine, rate=rate, source=source)


def _stored(recipe: Recipe) -> float:
    """Bytes of a parameter in the pivot's checkpoint: in its files, or as it is published if it is not here."""
    if any(recipe.pivot.glob("*.safetensors")):
        return float(BYTES[stored_dtype(recipe.pivot)])
    return STORED


def _shape(inputs: Inputs, settings: Settings) -> Shape:
    rows = settings.micro_batch
    most = _longest(inputs.pivot.config)
    length = -(-inputs.texts.largest_batch(rows) // rows)
    return Shape(
        rows=rows,
        length=max(2, min(length, most)),
        autocast=settings.autocast,
        dtype=settings.dtype,
        checkpointing=settings.checkpointing,
        lora=settings.lora,
    )


def _longest(config: Any) -> int:
    """Most tokens of a text that a model can read."""
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 10**9)


def _source_shape(inputs: Inputs, source: Found) -> Shape:
    """The shape in which the FLOPs of a source are counted: one text of mean length."""
    return Shape(1, max(2, min(round(inputs.texts.mean), _longest(source.config))), dtype="bfloat16", training=False)


_libraries = cache(libraries)


def _columns(recipe: Recipe) -> Collection[str]:
    """The columns that the caches of a recipe hold."""
    from gldfusion.cache.columns import needed_columns
    from gldfusion.objective import TotalLoss

    return needed_columns(TotalLoss(recipe).needs)


def _trained(settings: Settings) -> str:
    if settings.lora is None:
        return "all weights are trained"
    return f"adapters of rank {settings.lora[0]} on {', '.join(settings.lora[1]) or 'every linear layer'}"
