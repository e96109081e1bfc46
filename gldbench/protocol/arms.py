"""The protocol of a comparison: what its spec must say, and how its methods are made from each other.

A method of a spec may take terms and weights from another method. `resolved_methods` puts the tuned weights in and
returns methods that stand for themselves, as they are trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gldfusion.errors import InputError
from gldfusion.files import hash_json

if TYPE_CHECKING:
    from gldbench.schema import Environment
    from gldbench.spec import MethodSpec, Spec

BASELINE = "sft"
"""the method that all others are compared with; the learning rate is tuned for it"""
TAKEN_OVER = frozenset({"kind", "options", "sources", "control", "lambda_", "k"}).union(
    {"sample_seed", "learning_rate", "on_policy"}
)
"""keys that a method takes from its base where it does not set them itself"""
READ_BY_TERMS = frozenset({"sources", "control", "k"})
"""keys of a method that only its terms read"""
FREE = frozenset({"terms", "exploratory", "differs_in", "tuned"})
"""keys of a method in which it may differ from its baseline without saying so"""


@dataclass(frozen=True)
class Choice:
    """What was chosen for one method on the validation set."""

    weight: float = 1.0
    """factor of the weights of its own terms"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """options of its own terms, from its `choices`"""


def own_terms(spec: Spec, name: str) -> bool:
    """Whether the weight of a method is tuned: it has terms of its own, the spec tunes, and the method allows it."""
    return spec.tuning is not None and bool(spec.methods[name].terms) and spec.methods[name].tuned


def base_of(method: MethodSpec) -> str | None:
    """The method whose terms this one takes over, or None."""
    return method.adds_to or method.like


def ordered(spec: Spec) -> list[str]:
    """The names of all methods, each after the method that it takes terms from."""
    found: list[str] = []
    for name in spec.methods:
        found += [one for one in reversed(list(_chain(spec, name))) if one not in found]
    return found


def resolved_methods(spec: Spec, choices: Mapping[str, Choice]) -> dict[str, MethodSpec]:
    """The methods as they are trained: no method refers to another one, and all weights are final.

    Args:
        spec: the spec.
        choices: what was chosen for each tuned method; a method without a choice keeps the weights of the spec.
    """
    done: dict[str, MethodSpec] = {}
    for name in ordered(spec):
        method = spec.methods[name]
        base = done.get(base_of(method) or "")
        done[name] = resolved_method(method, base, choices.get(name, Choice()), own_losses(spec, base_of(method)))
    return {name: done[name] for name in spec.methods}


def own_losses(spec: Spec, name: str | None) -> frozenset[str]:
    """The losses of a method's own terms: those that it adds, or else those of the method that it is like."""
    while name is not None and not spec.methods[name].terms:
        name = spec.methods[name].like
    return frozenset() if name is None else frozenset(term.loss for term in spec.methods[name].terms)


def resolved_method(method: MethodSpec, base: MethodSpec | None, choice: Choice, scaled: frozenset[str]) -> MethodSpec:
    """One method as it is trained. A term whose weight becomes 0 is left out.

    Args:
        method: the method of the spec.
        base: the resolved method that it takes terms from.
        choice: its tuned weight and options.
        scaled: losses of the base's own terms, which `times` is for.
    """
    own = [
        term.model_copy(update={"weight": term.weight * choice.weight, "options": {**term.options, **choice.options}})
        for term in method.terms
    ]
    taken = [
        term.model_copy(
            update={
                "weight": term.weight * (method.times if term.loss in scaled else 1.0),
                "options": {**term.options, **method.term_options.get(term.loss, {})},
            }
        )
        for term in (base.terms if base else ())
    ]
    changes: dict[str, Any] = {"terms": tuple(term for term in (*taken, *own) if term.weight > 0)}
    if base is not None:
        given = method.model_fields_set
        changes |= {name: getattr(base, name) for name in TAKEN_OVER - given}
    reset = {"like": None, "adds_to": None, "term_options": {}, "times": 1.0, "choices": {}, "tuned": True}
    return method.model_copy(update=changes | reset)


def possible_methods(spec: Spec) -> Iterator[dict[str, MethodSpec]]:
    """The methods as they are trained with every value of their `choices`, for checks before anything is trained."""
    most = max((len(values) for m in spec.methods.values() for values in m.choices.values()), default=1)
    for place in range(most):
        options = {
            name: {option: values[min(place, len(values) - 1)] for option, values in method.choices.items()}
            for name, method in spec.methods.items()
        }
        yield resolved_methods(spec, {name: Choice(options=own) for name, own in options.items()})


def undeclared_differences(methods: Mapping[str, MethodSpec], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """What differs between a method and one that it is compared with, although the spec does not declare it.

    Args:
        methods: the resolved methods.
        pairs: (candidate, baseline) of the comparisons.

    Returns:
        One sentence for each difference; it names the method and the key.
    """
    found = []
    for name, base in pairs:
        first, second = (methods[one].model_dump(mode="json", by_alias=True) for one in (name, base))
        if not methods[name].terms or not methods[base].terms:
            first, second = ({k: v for k, v in own.items() if k not in READ_BY_TERMS} for own in (first, second))
        declared = FREE.union(methods[name].differs_in)
        found += [
            f"{name} has {key} {first.get(key)!r}, {base} has {key} {second.get(key)!r}"
            for key in sorted({*first, *second} - declared)
            if first.get(key) != second.get(key)
        ]
    return found


def compared_pairs(spec: Spec) -> list[tuple[str, str]]:
    """(candidate, baseline): each method with the one that it adds to or is like, else sft; and the primary pairs."""
    own = [
        (name, method.adds_to or method.like or BASELINE)
        for name, method in spec.methods.items()
        if name != BASELINE and BASELINE in spec.methods
    ]
    return list(dict.fromkeys((*own, *spec.primary)))


def require_declared(spec: Spec, methods: Mapping[str, MethodSpec]) -> None:
    """Refuses a comparison whose methods differ in anything that the spec does not declare.

    Args:
        spec: a spec; nothing is required if it tunes no weights and has no primary comparisons.
        methods: its resolved methods.

    Raises:
        InputError: names the method and the key of the first difference.
    """
    differences = (
        undeclared_differences(methods, compared_pairs(spec))
        if spec.primary or spec.tuning or spec.weights_from
        else []
    )
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise InputError(
            f"the methods of a comparison may differ only in what the spec declares: {differences[0]}{more}\n"
            "make them equal, or add the key to `differs_in` of the method"
        )


def protocol_hash(spec: Mapping[str, Any], environment: Environment) -> str:
    """A name for the protocol of a run: it depends on the whole spec and on the commit of the code.

    Args:
        spec: the stored spec.
        environment: the environment of the run.
    """
    return hash_json([spec, environment.commit])[:16]


def _chain(spec: Spec, name: str) -> Iterator[str]:
    """The method, then the one that it takes terms from, and so on."""
    current: str | None = name
    while current is not None:
        yield current
        current = base_of(spec.methods[current])
