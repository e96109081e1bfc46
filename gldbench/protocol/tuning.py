"""Chooses the learning rate and the weights of a comparison on the validation set.

First the learning rate is chosen for sft. Then the weight of each method's own terms is chosen, a method before those
that add terms to it, and last its other options. Every trial is trained with the same settings as the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gldbench.protocol.arms import (
    BASELINE,
    READ_BY_TERMS,
    Choice,
    base_of,
    ordered,
    own_losses,
    own_terms,
    resolved_method,
)
from gldbench.protocol.tuned import Trial, Tuning
from gldbench.spec import GateSpec, MethodSpec, Spec
from gldfusion.files import hash_json

Execute = Callable[[Spec], Mapping[str, Sequence[float]]]
"""trains and evaluates all methods of a spec; returns the scores of each, one for each world and seed"""


def tune(spec: Spec, execute: Execute) -> Tuning:
    """Runs all trials of a comparison and chooses among them.

    Args:
        spec: the comparison; it has a block `tuning`.
        execute: trains and evaluates trials.
    """
    tuner = _Tuner(spec, execute)
    tuner.choose_learning_rate()
    for methods in levels(spec):
        tuner.choose_weights([name for name in methods if own_terms(spec, name)])
        for name in methods:
            tuner.choose_options(name)
    return Tuning(tuner.learning_rate, tuner.choices, tuple(tuner.trials))


def levels(spec: Spec) -> Iterator[list[str]]:
    """The methods in groups: the methods of one group take terms only from those of earlier groups."""
    depth: dict[str, int] = {}
    for name in ordered(spec):
        base = base_of(spec.methods[name])
        depth[name] = 0 if base is None else depth[base] + 1
    for level in range(max(depth.values(), default=-1) + 1):
        yield [name for name in spec.methods if depth[name] == level]


def trial_spec(spec: Spec, methods: Mapping[str, MethodSpec]) -> Spec:
    """The experiment that trains and evaluates some trials: the validation set, in the worlds of the tuning."""
    tuning = spec.tuning
    assert tuning is not None, "only specs with a block `tuning` have trials"
    return spec.model_copy(
        update={
            "name": "tuning",
            "methods": dict(methods),
            "worlds": tuning.worlds,
            "fusion": spec.fusion.model_copy(update={"seeds": tuning.seeds, "seeds_per": "world"}),
            "evaluation": spec.evaluation.model_copy(update={"sets": ("validation",)}),
            "gates": GateSpec(),
            "tuning": None,
            "primary": (),
        }
    )


def tuning_key(spec: Spec) -> str:
    """A name for everything that trials of specs must share to be the same trials, except their methods."""
    content = trial_spec(spec, {}).model_dump(mode="json", by_alias=True)
    content["world"].pop("seed")
    content.pop("title")
    return hash_json(content)[:12]


class _Tuner:
    """The trials so far, and what was chosen from them."""

    def __init__(self, spec: Spec, execute: Execute) -> None:
        self.spec, self.execute = spec, execute
        self.learning_rate: float | None = None
        self.choices: dict[str, Choice] = {}
        self.trials: list[Trial] = []
        self.methods: dict[str, MethodSpec] = {}
        """the methods as they are trained with what was chosen so far"""
        self.names: dict[str, str] = {}
        """hash of a trained method -> name of its trial; equal trials of several methods are trained once"""
        self.scores: dict[str, tuple[float, ...]] = {}

    def choose_learning_rate(self) -> None:
        """Chooses the learning rate of sft, which all methods use."""
        assert self.spec.tuning is not None
        rates = sorted(self.spec.tuning.learning_rates)
        if not rates:
            return
        sft = resolved_method(self.spec.methods[BASELINE], None, Choice(), frozenset())
        candidates = [sft.model_copy(update={"learning_rate": rate}) for rate in rates]
        scores = self._scores([(f"{BASELINE}@lr{rate:g}", one) for rate, one in zip(rates, candidates, strict=True)])
        trials = [Trial(BASELINE, None, rate, {}, own, False) for rate, own in zip(rates, scores, strict=True)]
        self.learning_rate = trials[self._choose(trials)].learning_rate

    def choose_weights(self, names: Sequence[str]) -> None:
        """Chooses the weight of the own terms of some methods, all on the same grid."""
        assert self.spec.tuning is not None
        weights = sorted(self.spec.tuning.weights)
        first = {
            name: {option: values[0] for option, values in self.spec.methods[name].choices.items()} for name in names
        }
        grid = [(name, Choice(weight, first[name])) for name in names for weight in weights]
        scores = self._scores([(f"{name}@{choice.weight:g}", self._trained(name, choice)) for name, choice in grid])
        trials = [
            Trial(name, choice.weight, self.learning_rate, choice.options, own, False)
            for (name, choice), own in zip(grid, scores, strict=True)
        ]
        for name in names:
            own = [trial for trial in trials if trial.method == name]
            best = own[self._choose(own)]
            self.choices[name] = Choice(best.weight or 0.0, best.options)

    def choose_options(self, name: str) -> None:
        """Chooses the other options of a method at its chosen weight, one after the other, and settles the method."""
        for option, values in self.spec.methods[name].choices.items():
            choice = self.choices[name]
            if choice.weight == 0:
                break  # its own terms are left out
            tried = [Choice(choice.weight, {**choice.options, option: value}) for value in values]
            scores = self._scores([(f"{name}@{choice.weight:g}", self._trained(name, one)) for one in tried])
            trials = [
                Trial(name, one.weight, self.learning_rate, one.options, own, False)
                for one, own in zip(tried, scores, strict=True)
            ]
            known = next(t for t in self.trials if t.method == name and t.chosen)
            self.trials.remove(known)  # it is among the new trials: the first value of the option
            self.choices[name] = tried[self._choose(trials)]
        self.methods[name] = self._trained(name, self.choices.get(name, Choice()))

    def _trained(self, name: str, choice: Choice) -> MethodSpec:
        """A method as it is trained with a choice."""
        method = self.spec.methods[name]
        base = self.methods.get(base_of(method) or "")
        trained = resolved_method(method, base, choice, own_losses(self.spec, base_of(method)))
        return trained.model_copy(update={"learning_rate": trained.learning_rate or self.learning_rate})

    def _choose(self, trials: Sequence[Trial]) -> int:
        """The place of the best trial: the first of those with the highest mean. Adds all to the list of trials."""
        best = max(range(len(trials)), key=lambda place: (trials[place].mean, -place))
        self.trials += [replace(trial, chosen=place == best) for place, trial in enumerate(trials)]
        return best

    def _scores(self, wanted: Sequence[tuple[str, MethodSpec]]) -> list[tuple[float, ...]]:
        """Trains and evaluates methods that were not tried yet; returns the scores of all."""
        keys = [_content(method) for _, method in wanted]
        new: dict[str, MethodSpec] = {}
        for key, (label, method) in zip(keys, wanted, strict=True):
            if key not in self.names:
                self.names[key] = f"{label}-{key[:6]}"
                new[self.names[key]] = method
        if new:
            found = self.execute(trial_spec(self.spec, new))
            self.scores |= {name: tuple(scores) for name, scores in found.items() if name in new}
        return [self.scores[self.names[key]] for key in keys]


def _content(method: MethodSpec) -> str:
    """A hash of what decides the trained checkpoint."""
    content: dict[str, Any] = method.model_dump(mode="json", by_alias=True)
    ignored = {"differs_in", "exploratory"} | (set() if method.terms else READ_BY_TERMS)
    return hash_json({key: value for key, value in sorted(content.items()) if key not in ignored})
