"""`gldbench cache RECIPE`, `cache verify DIR`, `cache stat DIR`. Thin over the library."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gldbench.commands.options import Json, print_json
from gldfusion.errors import InputError

if TYPE_CHECKING:
    from gldfusion.recipe import Recipe

Cache = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a source cache.")]


class _BuildFirst(TyperGroup):
    """`cache RECIPE` is `cache build RECIPE`: what is no verb is a recipe. A recipe file called stat is ./stat."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["build", *args]
        return super().parse_args(ctx, args)


cache_app = typer.Typer(
    cls=_BuildFirst,
    help="Store the top-k logits of a recipe's sources (`gldbench cache RECIPE`), and look after what is stored.",
    no_args_is_help=True,
)


@cache_app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="Recipe whose sources name a cache folder.")],
    ids: Annotated[bool, typer.Option("--ids", help="Store vocabulary ids even where no term needs them.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the work, one CUDA device each if there are several.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Run the recipe's sources over its data and store what its terms need; texts already stored are not run again.

    Several such commands may run at once on one folder: they share the work.
    """
    from gldbench.console import reporter
    from gldfusion.data import read_examples
    from gldfusion.recipe import load_recipe

    loaded = load_recipe(recipe)
    texts = len({example.key for example in read_examples(loaded.data)})
    new = {}
    with reporter(f"cache {loaded.name}") as report:
        for arguments in _plan(loaded, ids):
            name = arguments.pop("name")
            show = lambda done, total, name=name: report(f"logits {name}", done, total)  # noqa: E731
            new[name] = _build(loaded.data, workers, show, arguments)
    if as_json:
        print_json({"texts": texts, "new": new})
    else:
        for name, count in new.items():
            print(f"{name}: {count} texts run, {texts - count} already stored")


def _plan(recipe: Recipe, ids: bool) -> list[dict[str, Any]]:
    """Arguments of `build_cache`, and the name, of each source with a cache."""
    from gldfusion.cache.columns import needed_columns
    from gldfusion.objective import TotalLoss

    if recipe.k == "full":
        raise InputError(
            "a cache holds top-k logits: the recipe says k: full\nset k, or read the sources live (no cache key)"
        )
    columns = needed_columns(TotalLoss(recipe).needs | ({"ids"} if ids else set()))
    plan = [
        {
            "name": source.name,
            "checkpoint": source.checkpoint,
            "cache": source.cache,
            "k": recipe.k,
            "max_length": recipe.train.max_length,
            "columns": columns,
            "dtype": source.dtype,
            "device": source.device,
            "offload": source.offload,
        }
        for source in recipe.sources
        if source.cache is not None
    ]
    if not plan:
        raise InputError(f"no source of recipe {recipe.name} names a cache\ngive a source `cache: FOLDER`")
    return plan


def _build(data: Path, workers: int, progress: Any, arguments: dict[str, Any]) -> int:
    from gldfusion.cache import build_cache, build_with_workers
    from gldfusion.data import read_examples

    if workers > 1:
        return build_with_workers(data, workers, progress, **arguments)
    return build_cache(examples=read_examples(data), progress=progress, **arguments)


@cache_app.command()
def verify(cache: Cache, as_json: Json = False) -> None:
    """Read every shard and check it; name each broken one and how to mend it, and exit 1."""
    from gldfusion.cache import verify_cache

    read, broken = verify_cache(cache)
    if as_json:
        print_json({"shards": read, "broken": [dataclasses.asdict(fault) for fault in broken]})
    else:
        for fault in broken:
            print(f"broken: {fault.path}: {fault.problem}\n  {fault.mend}")
        print(f"{cache}: {read} shards read, {len(broken)} files broken")
    raise typer.Exit(1 if broken else 0)


@cache_app.command()
def stat(cache: Cache, as_json: Json = False) -> None:
    """Tokens, bytes per token, and what is stored of each."""
    from gldfusion.cache import cache_stat

    found = cache_stat(cache)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        shown = f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else value
        print(f"{name.replace('_', ' ')}: {shown}")
