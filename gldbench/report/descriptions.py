"""One line about each method of a report, from what the spec says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gldbench.report import names
from gldbench.report.costs import setting_of

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
CONTROLS = {"shuffled": "-shuffled", "permuted_ids": "-permuted"}
EDGES = {"constant": "-constant", "shuffled": "-rewired"}
"""a setting -> the suffix in `names.CONTROL_SUFFIXES` whose text says what it does"""


def describe(
    method: str, spec: Mapping[str, Any], families: Mapping[str, Sequence[str]], weights: Mapping[str, float]
) -> str:
    """One line that explains `method`.

    Args:
        method: its name in the rows.
        spec: the parsed spec.yaml of the run.
        families: source -> its own families.
        weights: method -> tuned weight of its own terms.
    """
    line = _line(method, spec, families)
    return f"{line}; the tuning gave its own terms the weight 0" if weights.get(method) == 0 else line


def _line(method: str, spec: Mapping[str, Any], families: Mapping[str, Sequence[str]]) -> str:
    if method in FIXED:
        return FIXED[method]
    if names.is_source(method):
        return f"a source, trained mainly on {', '.join(map(names.spoken, families[method]))}"
    if names.is_specialist(method):
        return "a model that was fine-tuned from the base of all specialists, for part of the families"
    settings = spec["methods"].get(method)
    if settings is None:  # a spec that does not list it: all that is known is its name
        base = names.controlled(method)
        changed = [text for suffix, text in names.CONTROL_SUFFIXES.items() if method.endswith(suffix)]
        return f"{base}, but {changed[0]}" if base else _fusion(term.upper() for term in method.split("+")[1:])
    kind = settings.get("kind", "train")
    if kind in KINDS:
        return KINDS[kind]
    if kind == "merge":
        return f"the specialists' weights, merged by mergekit's {settings['options']['method']}"
    k = setting_of("k", method, spec)
    kept = f", {_kept(k)}" if k else ""
    if kind == "pairwise":
        return f"{_fusion(_terms(method, spec))} from each source alone{kept}, then the average of the results"
    if settings.get("like"):
        return f"{settings['like']}, but {', '.join(_changes(settings)) or 'with other settings'}"
    return _fusion(_terms(method, spec)) + _from(setting_of("sources", method, spec)) + kept


def _fusion(terms: Iterable[str]) -> str:
    found = ["SFT", *terms]
    return f"fusion with the losses {', '.join(found[:-1])} and {found[-1]}" if len(found) > 1 else "training with SFT"


def _terms(method: str, spec: Mapping[str, Any]) -> list[str]:
    """The losses of a method beside that of the labels, with the options that the spec gives them."""
    settings = spec["methods"][method]
    own = [term["loss"].upper() + _options(term.get("options", {})) for term in settings.get("terms", ())]
    if settings.get("adds_to"):
        return _terms(settings["adds_to"], spec) + own
    return own or (_terms(settings["like"], spec) if settings.get("like") else [])


def _options(options: Mapping[str, Any]) -> str:
    listed = (f"{key} {str(value).lower() if isinstance(value, bool) else value}" for key, value in options.items())
    return f" ({', '.join(listed)})" if options else ""


def _from(sources: Iterable[str] | None) -> str:
    return f" from {' and '.join(sources)}" if sources else ""


def _kept(k: int | str) -> str:
    return "on the whole vocabulary of each model" if k == "full" else f"with k = {k}"


def _changes(settings: Mapping[str, Any]) -> Iterator[str]:
    """In what a method differs from the one that it is like."""
    if settings.get("control", "none") in CONTROLS:
        yield names.CONTROL_SUFFIXES[CONTROLS[settings["control"]]]
    for loss, options in settings.get("term_options", {}).items():
        edges = EDGES.get(options.get("edges")) if len(options) == 1 else None
        yield names.CONTROL_SUFFIXES[edges] if edges else f"with {loss.upper()}{_options(options)}"
    if settings.get("terms"):
        yield f"with the losses {', '.join(term['loss'].upper() for term in settings['terms'])}"
    if settings.get("times", 1) != 1:
        yield f"with {settings['times']:g} times the weight of its own terms"
    if settings.get("k"):
        yield _kept(settings["k"])
    if settings.get("sources"):
        yield f"with outputs{_from(settings['sources'])}"
    if settings.get("on_policy"):
        yield f"on responses that the pivot writes, which are renewed every {settings['on_policy']['every']} steps"
    if settings.get("steps_factor", 1) != 1:
        yield names.CONTROL_SUFFIXES["-longer"]
    if settings.get("sample_seed") is not None:
        yield names.CONTROL_SUFFIXES["-order"]
    if settings.get("learning_rate"):
        yield f"with the learning rate {settings['learning_rate']:g}"
