"""The jobs of a sweep. They run in worker processes, on this machine or on others that see the same folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gldbench.evaluate.world import training_rows
from gldbench.generate.checkpoint import open_checkpoint
from gldbench.generate.generate import responses_for
from gldbench.grade.rows import RowLabels, grade
from gldbench.schema import Item, Task
from gldbench.store import Store
from gldfusion.files import write_json
from gldfusion.progress import Progress
from gldfusion.recipe import Recipe

SUITE = "sweep"
BATCH = 64
"""sequences that are generated at once"""


def cached_mark(run: Path, source: str) -> Path:
    """The file that says that the cache of a source is complete."""
    return run / "cache" / f"{source}.json"


def unit_of(name: str) -> str:
    """The unit of the store that holds the rows of one checkpoint."""
    return f"evaluated {name}"


def cache_one(recipe: Recipe, run: Path, source: str, progress: Progress) -> None:
    """Job: stores the logits of one source."""
    from gldfusion.cache import build_cache
    from gldfusion.cache.columns import needed_columns
    from gldfusion.cache.vllm import VllmServer
    from gldfusion.examples import load_examples
    from gldfusion.objective import TotalLoss

    spec = next(one for one in recipe.sources if one.name == source)
    assert spec.cache is not None, "recipe_of gives every source a cache"
    examples = load_examples(recipe.data, recipe.data_seed)
    k = recipe.k
    assert k != "full", "require_top_k refused it"
    new = build_cache(
        spec.checkpoint,
        spec.cache,
        examples,
        k,
        recipe.train.max_length,
        progress=progress,
        columns=needed_columns(TotalLoss(recipe).needs),
        dtype=spec.dtype,
        device=spec.device,
        offload=spec.offload,
        trust_remote_code=recipe.trust_remote_code,
        special=recipe.special_tokens_in_text,
        answers=None if spec.vllm is None else VllmServer(spec.vllm, k),
    )
    write_json(cached_mark(run, source), {"source": source, "texts": len(examples), "new": new})


def fuse_one(recipe: Recipe, path: Path, progress: Progress) -> None:
    """Job: makes one fused checkpoint."""
    from gldfusion.fuse import fuse

    fuse(recipe, path, progress)


def evaluate_one(
    name: str,
    path: Path,
    run: Path,
    run_id: str,
    env_id: str,
    work: Sequence[tuple[Task, list[Item]]],
    fused: bool,
    progress: Progress,
) -> None:
    """Job: asks one checkpoint and stores its grades as rows, with the training log if it is a fused one."""
    store = Store(run)
    labels = RowLabels(run_id=run_id, env_id=env_id, suite=SUITE, subject=name, method="fused" if fused else "pivot")
    rows = []
    if work:
        made = responses_for(
            open_checkpoint(path), work, store, subject=name, batch_size=BATCH, progress=progress
        ).responses
        start = 0
        for task, items in work:
            rows += grade(task, items, made[start : start + len(items)], labels, (task.headline.grader,))
            start += len(items)
    store.append_rows(rows + (training_rows(path, labels) if fused else []), unit_of(name))
