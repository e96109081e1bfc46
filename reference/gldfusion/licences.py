"""The licences of what a fused checkpoint was made of, as the owners' own cards state them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import metadata_load, try_to_load_from_cache

from gldfusion.reading import one_line
from gldfusion.recipe import DataPart, Recipe

CARD = "README.md"
UNSTATED = "not stated"
LONGEST = 100
"""most characters of a licence in the table"""


def licence_table(recipe: Recipe) -> str:
    """A Markdown table of pivot, sources and data with their licences."""
    rows = [("pivot", recipe.pivot.name, stated_licence(recipe.pivot / CARD))]
    rows += [("source", s.name, stated_licence(s.checkpoint / CARD)) for s in recipe.used_sources]
    rows += [("data", part.path.name if part.path else part.name, _of_data(part)) for part in recipe.data]
    lines = [f"| {what} | `{name}` | {licence} |" for what, name, licence in rows]
    return "\n".join(["| part | name | licence |", "| --- | --- | --- |", *lines, ""])


def stated_licence(card: Path) -> str:
    """The licence in the head of a model card or data card, or why there is none.

    A card that cannot be read stops no training: it is only a note.
    """
    try:
        if not card.is_file():
            return f"{UNSTATED} (no card)"
        head: Any = metadata_load(card)
    except (OSError, ValueError, yaml.YAMLError):
        return f"{UNSTATED} (its card cannot be read)"
    if not isinstance(head, dict) or not head.get("license"):
        return UNSTATED
    names = head["license"] if isinstance(head["license"], list) else [head["license"]]
    more = [head[key] for key in ("license_name", "license_link") if head.get(key)]
    return one_line(", ".join(map(str, [*names, *more])), LONGEST).replace("|", "\\|")


def _of_data(part: DataPart) -> str:
    """The licence of a data set: by the card beside the file, or by the card that was loaded from the hub."""
    if part.path is not None:
        return stated_licence(part.path.parent / CARD)
    found = try_to_load_from_cache(str(part.hub), CARD, revision=part.revision, repo_type="dataset")
    return stated_licence(Path(found)) if isinstance(found, str) else f"{UNSTATED} (no card)"
