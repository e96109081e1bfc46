"""One line about each method of a report, from what the spec says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gldbench.report import names

FIXED = {
    "pivot": "the pivot before fusion",
    names.BEST_SOURCES: "for each family, the source with the best score on these same items; an optimistic bound",
    names.ORACLE: "for each family, the best of the sources trained mainly on it; needs to know the family of each "
    "item",
    names.SAME_VOCABULARY: "a source that has the pivot's vocabulary; sft+kl learns from it",
    names.BASELINE: "fine-tuning on the labels of the fusion set only; the baseline of all comparisons",
    names.POSITIVE: "positive control: fine-tuning plus KL to the source that has the pivot's vocabulary",
}
KINDS = {
    "sequence_kd": "fine-tuning on responses that the sources wrote",
    "soup": "average of the specialists' weights",
    "fisher": "average of the specialists' weights, each entry weighted by its Fisher information",
    "dynamic_logits_fusion": "at each step of decoding, the logits of the pivot are shifted by what the specialists "
    "learned beyond their base",
}


def describe(method: str, spec: Mapping[str, Any], families: Mapping[str, Sequence[str]]) -> str:
    """One line that explains `method`.

    Args:
        method: its name in the rows.
        spec: the parsed spec.yaml of the run.
        families: source -> its own families.
    """
    if method in FIXED:
        return FIXED[method]
    if names.is_source(method):
        return f"a source, trained mainly on {', '.join(map(names.spoken, families[method]))}"
    if names.is_specialist(method):
        return "a model that was fine-tuned from the base of all specialists, for part of the families"
    settings = spec["methods"].get(method, {})
    kind = settings.get("kind", "train")
    if kind in KINDS:
        return KINDS[kind]
    if kind == "merge":
        return f"the specialists' weights, merged by mergekit's {settings['options']['method']}"
    if kind == "pairwise":
        return f"fusion with {_terms(method, spec)} from each source alone, then the average of the results"
    base = settings.get("like") or names.controlled(method)
    if base is None:
        return f"fusion with {_terms(method, spec)}{_sources(settings.get('sources'))}"
    return f"{base}, but {_changes(method, settings)}"


def _terms(method: str, spec: Mapping[str, Any]) -> str:
    terms = ["SFT", *_terms_of(method, spec)]
    return f"the losses {' and '.join([', '.join(terms[:-1]), terms[-1]])}" if len(terms) > 1 else "the loss SFT"


def _terms_of(method: str, spec: Mapping[str, Any]) -> list[str]:
    settings = spec["methods"].get(method)
    if settings is None:  # a run whose spec does not have this method: its name lists the terms
        return [term.upper() for term in method.split("+")[1:]]
    below = settings.get("adds_to") or settings.get("like")
    own = [term["loss"].upper() + _options(term.get("options", {})) for term in settings.get("terms", ())]
    return [*(_terms_of(below, spec) if below else ()), *own]


def _options(options: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{key} {_value(value)}' for key, value in options.items())})" if options else ""


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sources(sources: Iterable[str] | None) -> str:
    return f" from {' and '.join(sources)}" if sources else ""


def _changes(method: str, settings: Mapping[str, Any]) -> str:
    """In what a method differs from the one that it is like."""
    known = [text for suffix, text in names.CONTROL_SUFFIXES.items() if method.endswith(suffix)]
    if known:
        return known[0]
    replaced = settings.get("term_options", {})
    found = [f"with {loss.upper()}{_options(options)}" for loss, options in replaced.items()]
    if settings.get("times", 1) != 1:
        found.append(f"with {settings['times']:g} times the weight")
    if settings.get("k"):
        found.append(f"with k = {settings['k']}")
    if settings.get("sources"):
        found.append(f"with outputs{_sources(settings['sources'])}")
    if settings.get("on_policy"):
        found.append(f"on responses that the pivot writes, newly every {settings['on_policy']['every']} steps")
    return ", ".join(found) or "with other settings"
