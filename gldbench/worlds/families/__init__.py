"""Procedural task families, modelled on tasks of BIG-Bench Hard. A family is one file and one line in `FAMILIES`."""

from __future__ import annotations

from gldbench.worlds.families import (
    boolean_expressions,
    causal_judgement,
    dyck_languages,
    list_functions,
    multistep_arithmetic,
    object_counting,
    tracking_shuffled_objects,
)
from gldbench.worlds.families.family import ANSWER_PATTERN, MARKER, Family, Instance, extract_answer, normalise

FAMILIES: dict[str, Family] = {
    "multistep_arithmetic": multistep_arithmetic.FAMILY,
    "boolean_expressions": boolean_expressions.FAMILY,
    "dyck_languages": dyck_languages.FAMILY,
    "tracking_shuffled_objects": tracking_shuffled_objects.FAMILY,
    "object_counting": object_counting.FAMILY,
    "causal_judgement": causal_judgement.FAMILY,
    "list_functions": list_functions.FAMILY,
}

__all__ = ["ANSWER_PATTERN", "FAMILIES", "MARKER", "Family", "Instance", "extract_answer", "normalise"]
