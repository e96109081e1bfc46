"""`gldbench plan RECIPE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gldbench.commands.options import Json, TrustRemoteCode, print_json
from gldfusion.errors import InputError, require_known

if TYPE_CHECKING:
    from gldbench.plan.actual import Beside
    from gldbench.plan.planning import Plan

PARALLEL = ("ddp", "fsdp")


def plan(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or name of a shipped one: paper.")],
    hardware: Annotated[
        str,
        typer.Option(help="here (this machine, whose speed is measured), or GPUs such as h200, 8xh200, 4x8xh100."),
    ] = "here",
    parallel: Annotated[
        str, typer.Option(help="How processes share the work: ddp (each has the whole model) or fsdp.")
    ] = "ddp",
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CONFIGURATION",
            help="Take another configuration for the pivot or a source: a shipped one, or a folder. May be repeated.",
        ),
    ] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="Number of training texts. Default: counted in the data.")
    ] = None,
    tokens: Annotated[
        float | None, typer.Option(min=1, help="Mean tokens of a text. Default: measured in the data.")
    ] = None,
    actual: Annotated[
        Path | None, typer.Option(help="A checkpoint that this recipe made: its totals stand beside the plan.")
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Print what a fusion needs before it starts: parameters, tokens, FLOPs, memory, disk and hours.

    Nothing is downloaded or trained. The exit code is 2 if the fusion does not fit; a message names the cheapest change
    with which it does.
    """
    from gldbench.plan.recipes import read_recipe
    from gldfusion.recipe import with_trust

    require_known("parallel", parallel, PARALLEL)
    loaded = with_trust(read_recipe(recipe), trust_remote_code)
    models = _named(model or [])
    from gldbench.plan.actual import beside  # these load torch, which takes seconds: after all quick checks
    from gldbench.plan.changes import cheapest_change
    from gldbench.plan.hardware import machine_named
    from gldbench.plan.page import as_json as plan_as_json
    from gldbench.plan.page import refusal
    from gldbench.plan.planning import make_plan, read_inputs
    from gldbench.plan.settings import settings_of

    machine = machine_named(hardware, loaded.train.precision)
    inputs = read_inputs(loaded, models, examples, tokens)
    made = make_plan(inputs, machine, settings_of(loaded, machine.ranks, "fsdp" if parallel == "fsdp" else "ddp"))
    besides = beside(made, loaded, actual) if actual is not None else []
    change = None if made.fits else cheapest_change(inputs, made)
    if as_json:
        print_json(plan_as_json(made, change, besides))
    else:
        _show(made, besides)
    if not made.fits:
        raise InputError(refusal(made, change))
    if any(one.within is False for one in besides):
        raise typer.Exit(1)


def _named(given: list[str]) -> dict[str, str]:
    """Reads --model NAME=CONFIGURATION."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.strip().partition("=")
        if not equals or not name or not value:
            raise InputError(
                f'expected --model NAME=CONFIGURATION, got "{text}"\nexample: --model pivot=Qwen2.5-7B-Instruct'
            )
        found[name] = value
    return found


def _show(plan: Plan, besides: list[Beside]) -> None:
    from gldbench.console import print_rows, print_wrapped
    from gldbench.plan.page import HEADER, before, beside_rows, lines, memory, sentences

    for sentence in sentences(plan):
        print_wrapped(sentence)
    tables = (("", plan.figures), ("Memory of each process", memory(plan)), ("Before the training", before(plan)))
    for title, figures in tables:
        if not figures:
            continue
        print(f"\n{title}".rstrip() or "")
        for label, assumption in lines(figures):
            print_wrapped(f"{label}{assumption}", hang=len(label))
    if besides:
        print()
        print_rows(HEADER, *beside_rows(besides))
