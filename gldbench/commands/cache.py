"""`gldbench cache RECIPE`, and `gldbench cache prompts`, `import`, `verify` and `stat`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gldbench.commands.options import Json, TrustRemoteCode, print_json
from gldfusion.errors import InputError

if TYPE_CHECKING:
    from gldfusion.recipe import Recipe, SourceSpec

Cache = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a source cache.")]


class _BuildFirst(TyperGroup):
    """Reads `cache RECIPE` as `cache build RECIPE`. A recipe called "stat" must be written as ./stat."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["build", *args]
        return super().parse_args(ctx, args)


cache_app = typer.Typer(
    cls=_BuildFirst,
    help="Store the top-k logits of a recipe's sources (`gldbench cache RECIPE`), and check or describe stored logits.",
    no_args_is_help=True,
)


@cache_app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="Recipe with `cache: FOLDER` at each source to store.")],
    ids: Annotated[
        bool, typer.Option("--ids", help="Store vocabulary ids, even if no term of the recipe needs them.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="Number of processes that share the work. With several CUDA devices, each process uses one."
        ),
    ] = 1,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Run the recipe's sources on its data and store the logits that its terms need. Stored texts are not run again.

    Several of these commands can run at the same time on one folder: they share the work.
    """
    from gldbench.console import reporter
    from gldfusion.recipe import load_recipe, with_trust
    from gldfusion.recipe_paths import check_cache_paths

    loaded = with_trust(load_recipe(recipe), trust_remote_code)
    _check(loaded)
    check_cache_paths(loaded)
    from gldfusion.examples import load_examples  # loads torch, which takes seconds: after all quick checks

    texts = len({example.key for example in load_examples(loaded.data, loaded.data_seed)})
    new = {}
    with reporter(f"cache {loaded.name}") as report:
        for arguments in _plan(loaded, ids):
            name = arguments.pop("name")
            show = lambda done, total, name=name: report(f"logits {name}", done, total)  # noqa: E731
            new[name] = _build(loaded, workers, show, arguments)
    if as_json:
        print_json({"texts": texts, "new": new})
    else:
        for name, count in new.items():
            print(f"{name}: {count} texts run, {texts - count} already stored")


def _check(recipe: Recipe) -> None:
    if recipe.k == "full":
        raise InputError(
            "a cache holds top-k logits: the recipe says k: full\n"
            "set k to a number, or remove `cache` from the sources, which then run live"
        )
    if not any(source.cache for source in recipe.sources):
        raise InputError(f"no source of recipe {recipe.name} names a cache\ngive a source `cache: FOLDER`")


def _plan(recipe: Recipe, ids: bool) -> list[dict[str, Any]]:
    """For each source with a cache: its name, and the arguments of `build_cache`."""
    from gldfusion.cache.columns import needed_columns
    from gldfusion.cache.vllm import VllmServer
    from gldfusion.objective import TotalLoss

    columns = needed_columns(TotalLoss(recipe).needs | ({"ids"} if ids else set()))
    return [
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
            "trust_remote_code": recipe.trust_remote_code,
            "special": recipe.special_tokens_in_text,
            "answers": None if source.vllm is None else VllmServer(source.vllm, int(recipe.k)),
        }
        for source in recipe.sources
        if source.cache is not None
    ]


def _build(recipe: Recipe, workers: int, progress: Any, arguments: dict[str, Any]) -> int:
    from gldfusion.cache import build_cache, build_with_workers
    from gldfusion.examples import load_examples

    if workers > 1:
        return build_with_workers(recipe.data, recipe.data_seed, workers, progress, **arguments)
    return build_cache(examples=load_examples(recipe.data, recipe.data_seed), progress=progress, **arguments)


@cache_app.command()
def prompts(
    recipe: Annotated[Path, typer.Argument(help="Recipe that names the source, with `cache: FOLDER`.")],
    source: Annotated[str, typer.Argument(help="Name of the source in the recipe.")],
    output: Annotated[Path, typer.Argument(help="File to write. It must not exist.")],
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write the token ids of all texts for a source that runs elsewhere, one JSON object in each line.

    Ask the source for the logprobs of these ids, and store the answers with `gldbench cache import`.
    """
    from gldfusion.recipe import load_recipe, with_trust

    loaded = with_trust(load_recipe(recipe), trust_remote_code)
    spec = _elsewhere(loaded, source)
    if output.exists():
        raise InputError(f"will not overwrite {output}: it is already there\nmove it away or choose another output")
    from gldfusion.cache.answers import write_prompts
    from gldfusion.examples import load_examples

    texts = load_examples(loaded.data, loaded.data_seed)
    number = write_prompts(output, spec.checkpoint, texts, loaded)
    print(f"{output}: {number} texts")


@cache_app.command("import")
def import_answers(
    recipe: Annotated[Path, typer.Argument(help="Recipe that names the source, with `cache: FOLDER`.")],
    source: Annotated[str, typer.Argument(help="Name of the source in the recipe.")],
    files: Annotated[list[Path], typer.Argument(help="Files of answers, as docs/fusing.md describes them.")],
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
) -> None:
    """Fill the cache of a source with logprobs that it gave elsewhere. Stored texts are not read again."""
    from gldbench.console import reporter
    from gldfusion.recipe import load_recipe, with_trust

    loaded = with_trust(load_recipe(recipe), trust_remote_code)
    spec = _elsewhere(loaded, source)
    from gldfusion.cache.answers import AnswerFiles
    from gldfusion.examples import load_examples

    texts = len({example.key for example in load_examples(loaded.data, loaded.data_seed)})
    (arguments,) = (a for a in _plan(_without_servers(loaded), ids=False) if a.pop("name") == spec.name)
    arguments["answers"] = AnswerFiles(files)
    with reporter(f"cache {loaded.name}") as report:
        new = _build(loaded, 1, lambda done, total: report(f"logits {spec.name}", done, total), arguments)
    if as_json:
        print_json({"texts": texts, "new": {spec.name: new}})
    else:
        print(f"{spec.name}: {new} texts imported, {texts - new} already stored")


def _elsewhere(recipe: Recipe, name: str) -> SourceSpec:
    """The source of this name, whose cache is filled with answers.

    Raises:
        InputError: there is none, it has no cache, or its tokenizer is not here.
    """
    from gldfusion.errors import require_known
    from gldfusion.paths import require_checkpoint

    _check(recipe)
    specs = {source.name: source for source in recipe.sources if source.cache is not None}
    require_known("source with a cache", name, list(specs))
    require_checkpoint(specs[name].checkpoint, recipe.trust_remote_code, weights=False)
    return specs[name]


def _without_servers(recipe: Recipe) -> Recipe:
    """The recipe, with no server that would be asked."""
    sources = tuple(source.model_copy(update={"vllm": None}) for source in recipe.sources)
    return recipe.model_copy(update={"sources": sources})


@cache_app.command()
def verify(cache: Cache, as_json: Json = False) -> None:
    """Read and check every stored file, and list the broken ones. The exit code is 1 if a file is broken."""
    from gldfusion.paths import require_cache

    require_cache(cache)
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
    """Print the number of tokens, the bytes per token and what is stored for each token."""
    from gldfusion.paths import require_cache

    require_cache(cache)
    from gldfusion.cache import cache_stat

    found = cache_stat(cache)
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        shown = f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, list) else value
        print(f"{name.replace('_', ' ')}: {shown}")
