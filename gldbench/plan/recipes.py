"""Finds a recipe: by its path, or among those that are shipped."""

from __future__ import annotations

from pathlib import Path

import gldfusion
from gldfusion.errors import InputError, did_you_mean
from gldfusion.reading import one_line
from gldfusion.recipe import Recipe, load_recipe

SHIPPED = Path(gldfusion.__file__).parent / "recipes"


def read_recipe(name: str) -> Recipe:
    """Reads a recipe.

    Args:
        name: path of a YAML file, or name of a shipped recipe. Relative paths in a shipped recipe refer to the current
            folder, those in other recipes to the folder of the recipe.

    Raises:
        InputError: there is no such recipe, or it is not valid.
    """
    if Path(name).suffix:
        return load_recipe(Path(name))
    known = {path.stem: path for path in SHIPPED.glob("*.yaml")}
    if name not in known:
        raise InputError(
            f'no recipe is called "{one_line(name, 80)}"{did_you_mean(name, known)}\n'
            f"known: {', '.join(sorted(known))}; a path must end in .yaml"
        )
    return load_recipe(known[name], Path.cwd())
