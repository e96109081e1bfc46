"""Checks of a spec that go beyond the type of each value: names that must exist, and the rules of a comparison."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from gldbench.protocol.arms import BASELINE, base_of
from gldbench.protocol.models import check_models
from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import one_line

if TYPE_CHECKING:
    from gldbench.spec import MethodSpec, Spec

MOST_ARMS = 8
"""most methods of a spec with primary comparisons, exploratory ones not counted"""
MOST_COMPARISONS = 6
"""most primary comparisons"""


def check_spec(spec: Spec, where: str) -> None:
    """Checks a spec that was read from a file.

    Args:
        spec: the spec.
        where: name of its file, for messages.

    Raises:
        InputError: something is named that the spec does not define, or a method, seed or comparison is not as the
            protocol of a comparison allows.
    """
    _check_numbers(spec, where)
    known = spec.world.models.keys() - {"pivot"}
    for name, method in spec.methods.items():
        for source in method.sources:
            _require_named(f"{where}: methods.{name}.sources", source, known)
        _check_method(spec, name, method, f"{where}: methods.{name}")
    check_models(spec, where)
    if "gates" in spec.model_fields_set:
        for role, gate in spec.gates:
            if gate is not None:
                _require_named(f"{where}: gates.{role}", gate, spec.methods)
    _check_tuning(spec, where)
    _check_primary(spec, where)


def _require_named(key: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise InputError(
            f'{key} names "{one_line(name, 80)}"{did_you_mean(name, known)}\nknown: {", ".join(sorted(known))}'
        )


def _check_numbers(spec: Spec, where: str) -> None:
    lists = {"worlds": spec.worlds, "fusion.seeds": spec.fusion.seeds}
    if spec.tuning is not None:
        tuning = spec.tuning
        lists |= {"tuning.worlds": tuning.worlds, "tuning.seeds": tuning.seeds, "tuning.weights": tuning.weights}
        lists["tuning.learning_rates"] = tuning.learning_rates
    for key, numbers in lists.items():
        if len(set(numbers)) < len(numbers) or any(number < 0 for number in numbers):
            raise InputError(f"{where}: {key}: expected different numbers of at least 0, got {list(numbers)}")
    if spec.fusion.seeds_per == "all" and len(spec.fusion.seeds) < len(spec.worlds):
        raise InputError(
            f"{where}: {len(spec.fusion.seeds)} fusion.seeds cannot be dealt out to {len(spec.worlds)} worlds\n"
            "give at least one seed for each world, or set fusion.seeds_per to world"
        )


def _check_method(spec: Spec, name: str, method: MethodSpec, where: str) -> None:
    if method.like and method.adds_to:
        raise InputError(f"{where} has both like and adds_to\nname one method that it takes terms from")
    if base := base_of(method):
        _require_named(f"{where}.{'like' if method.like else 'adds_to'}", base, spec.methods)
        seen = [name]
        while base is not None:
            if base in seen:
                raise InputError(f"{where} takes terms from {seen[1]}, which takes terms from it\nname another method")
            seen.append(base)
            base = base_of(spec.methods[base]) if base in spec.methods else None
    if method.like and method.terms:
        raise InputError(f"{where} has both like and terms\nuse adds_to for a method that adds terms to another one")
    if method.adds_to and not method.terms:
        raise InputError(f"{where} has adds_to but no terms\nname the terms that it adds, or use like")
    if (method.term_options or method.times != 1) and not method.like:
        raise InputError(f"{where}: term_options and times change the terms of another method\nname it with like")
    if method.choices and (not (spec.tuning or spec.weights_from) or not method.terms):
        raise InputError(f"{where}: choices are made for a method's own terms\ngive terms, and a block `tuning`")
    if isinstance(method.k, int) and method.k > spec.world.k:
        raise InputError(f"{where}.k is {method.k}, but the world stores {spec.world.k} logits for each position")


def _check_tuning(spec: Spec, where: str) -> None:
    tuning = spec.tuning
    if tuning is not None and spec.weights_from is not None:
        raise InputError(f"{where} has both tuning and weights_from\nleave out one of them: set tuning to null")
    if spec.weights_from is not None and Path(spec.weights_from).name != spec.weights_from:
        raise InputError(f"{where}: weights_from: expected the name of a run beside this one, such as compare")
    if tuning is None:
        return
    if BASELINE not in spec.methods:
        raise InputError(f"{where}: tuning needs a method {BASELINE}, for which the learning rate is chosen")
    if 0 not in tuning.weights or len(tuning.weights) < 2:
        raise InputError(f"{where}: tuning.weights: expected 0 and other weights, got {list(tuning.weights)}")
    if 0 in tuning.learning_rates:
        raise InputError(f"{where}: tuning.learning_rates: expected rates above 0, got {list(tuning.learning_rates)}")
    for key, ours, theirs in (
        ("worlds", tuning.worlds, spec.worlds or (spec.world.seed,)),
        ("seeds", tuning.seeds, spec.fusion.seeds),
    ):
        if shared := set(ours) & set(theirs):
            raise InputError(
                f"{where}: tuning.{key} has {min(shared)}, which the comparison uses too\n"
                "tune with other numbers: weights must not be chosen on what they are compared on"
            )


def _check_primary(spec: Spec, where: str) -> None:
    if not spec.primary:
        return
    if len(spec.primary) > MOST_COMPARISONS:
        raise InputError(
            f"{where}: primary has {len(spec.primary)} comparisons, at most {MOST_COMPARISONS} are allowed\n"
            "the correction for many comparisons would hide real differences"
        )
    arms = [name for name, method in spec.methods.items() if not method.exploratory]
    if len(arms) > MOST_ARMS:
        raise InputError(
            f"{where} has {len(arms)} methods that are not exploratory, at most {MOST_ARMS} are allowed\n"
            "set `exploratory: true` for the others"
        )
    for candidate, baseline in spec.primary:
        for name in (candidate, baseline):
            _require_named(f"{where}: primary", name, spec.methods)
            if spec.methods[name].exploratory:
                raise InputError(f"{where}: primary names {name}, which is exploratory\nremove one of the two")
        if candidate == baseline or spec.primary.count((candidate, baseline)) > 1:
            raise InputError(f"{where}: primary compares {candidate} with {baseline} twice, or a method with itself")
    for name, method in spec.methods.items():
        if method.lambda_ != 0 and "lambda" not in method.differs_in:
            raise InputError(
                f"{where}: methods.{name}.lambda is {method.lambda_}: in a comparison the weight of SFT is 1 for all\n"
                "leave lambda out"
            )
