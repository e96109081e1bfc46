"""Makes the plan of a fusion: its figures, the memory of one process, and whether it fits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from gldbench.plan.disk import disk
from gldbench.plan.figures import Figure
from gldbench.plan.hardware import Machine
from gldbench.plan.here import libraries, standard_rate, try_fusion
from gldbench.plan.memory import Live, parts
from gldbench.plan.models import Found, configuration
from gldbench.plan.passes import Pass, Shape, measure
from gldbench.plan.settings import Settings
from gldbench.plan.texts import Texts, texts_of
from gldbench.plan.work import SourceWork, work, work_of_step
from gldfusion.errors import InputError, require_known
from gldfusion.recipe import Recipe, steps_of

PIVOT = "pivot"
UNIT_LENGTH = 512
"""tokens of the text on which the FLOPs of a source are counted, if the texts are not shorter"""


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

    @property
    def peak(self) -> float:
        """Bytes of one process."""
        return sum(part.value for part in self.memory)

    @property
    def fits(self) -> bool:
        """Whether one process fits its device."""
        return self.peak <= self.machine.memory

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
        InputError: a model cannot be built from its configuration, or the batch does not divide among the processes.
    """
    recipe, texts = inputs.recipe, inputs.texts
    if recipe.train.batch_size % machine.ranks:
        raise InputError(
            f"batch_size {recipe.train.batch_size} does not divide evenly among {machine.ranks} processes\n"
            f"choose a multiple of {machine.ranks}, or another --hardware"
        )
    shape = _shape(inputs, settings)
    pivot = measure(inputs.pivot.config, shape)
    full = measure(inputs.pivot.config, replace(shape, checkpointing=False)) if settings.checkpointing else pivot
    layers = int(inputs.pivot.config.get_text_config().num_hidden_layers)
    sources = {name: _source(inputs, name) for name in inputs.sources}
    stored = 0.0 if machine.gpu else _libraries()  # before a model is made for the measurement of the rate
    steps = steps_of(recipe.train, texts.examples)
    specs = {source.name: source for source in recipe.used_sources}
    beside = [name for name in sources if specs[name].cache is None and not settings.cached]
    length = texts.examples * texts.mean
    jobs = [
        SourceWork(name, (one.flops + one.output_flops) / one.places, name not in beside, length)
        for name, one in sources.items()
    ]
    live = [Live(name, sources[name].parameters, specs[name].dtype, sources[name].width) for name in beside]
    step_tokens = recipe.train.batch_size * texts.mean
    if not machine.rate:
        step_flops = work_of_step(step_tokens, pivot, jobs, settings)
        rate, source = try_fusion(recipe, pivot, texts.examples, step_flops) or standard_rate(recipe)
        machine = replace(machine, rate=rate, source=source)
    kernel = "cpu" if not machine.gpu else "chunked" if recipe.train.kernel == "chunked" else "triton"
    cached_tokens = length * (len(sources) - len(beside))
    figures = [
        *(Figure(f"parameters of {n}", p.parameters, "parameters", "counted in the model that transformers builds")
          for n, p in {PIVOT: pivot, **sources}.items()),
        Figure("trained parameters", pivot.trainable, "parameters", _trained(settings)),
        Figure("texts", texts.examples, "texts", texts.source),
        Figure("tokens of a text", texts.mean, "tokens", texts.source),
        *work(steps, step_tokens, pivot, jobs, settings, machine),
        *disk(
            pivot.parameters, pivot.trainable, [p.parameters for p in sources.values()], cached_tokens,
            recipe.k if recipe.k != "full" else 0, _columns(recipe), bool(recipe.train.evaluate_every),
        ),
        Figure(
            "host memory while loading",
            4.0 * pivot.parameters * machine.per_node,
            "B",
            "of each node: every process loads the whole pivot in float32 into main memory first",
        ),
    ]  # fmt: skip
    return Plan(
        recipe=recipe.name,
        machine=machine,
        settings=settings,
        models={PIVOT: inputs.pivot.origin, **{name: found.origin for name, found in inputs.sources.items()}},
        figures=tuple(figures),
        memory=tuple(parts(pivot, full, layers, live, settings, machine.ranks, kernel, stored)),
    )


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


def _source(inputs: Inputs, name: str) -> Pass:
    length = min(UNIT_LENGTH, inputs.texts.longest, _longest(inputs.sources[name].config))
    return measure(inputs.sources[name].config, Shape(1, max(2, length), dtype="bfloat16", training=False))


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
