"""`gldbench setup opencompass`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gldbench.commands.options import Json, print_json

setup_app = typer.Typer(help="Set up harnesses that need an environment of their own.", no_args_is_help=True)


@setup_app.callback()
def _setup() -> None:
    """Without a callback, typer would make the only command of this group the group itself."""


@setup_app.command()
def opencompass(
    into: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the environment. Default: $GLDBENCH_OPENCOMPASS, or a folder in ~/.cache/gldbench."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the environment in which OpenCompass grades, about 200 MB. Does nothing where it is there already.

    It sees the packages of the running environment, and adds OpenCompass and what else its evaluators import.
    """
    from gldbench import overlay
    from gldbench.console import reporter

    place, begun = (into or overlay.default_place()).resolve(), time.monotonic()
    with reporter("setup opencompass") as progress:
        made = overlay.set_up(place, lambda done, total: progress("packages", done, total))
    facts = {
        "folder": str(place),
        "made": made,
        "version": overlay.pinned()["opencompass"],
        "megabytes": round(overlay.size_mb(place)) if made else None,
        "seconds": round(time.monotonic() - begun, 1),
        "found_by_default": place == overlay.default_place().resolve(),
    }
    if as_json:
        print_json(facts)
        return
    if made:
        print(f"OpenCompass {facts['version']} is set up in {place}: {facts['megabytes']} MB, {facts['seconds']} s")
    else:
        print(f"OpenCompass {facts['version']} is there already: {place}")
    if not facts["found_by_default"]:
        print(f"to use it, set the environment variable: export {overlay.VARIABLE}={place}")
