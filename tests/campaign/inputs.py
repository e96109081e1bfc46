"""Makes what the campaign's commands read: tiny checkpoints, a benchmark with its data, recipes, a bench, a spec."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from pathlib import Path

import yaml

ITEMS = 96
"""items of the benchmark"""
TEXTS = 2200
"""texts of the cache, which are more than one shard"""
SPEC = Path(__file__).parent / "small.yaml"


LINES = (
    ("What is 12 + 345?", "12 + 345 = 357. The answer is 357."), ("Say hello.", "Hello, world!"), ("x", "y"),
    ("Translate: café", "Ein schönes Café, 10 € für Zoë 🙂."), ("Close the brackets: ( [ {", "} ] )"),
    ("Write a function.", "def add(a, b):\n    return a + b\n"), ("Who has the ball?", "Ann gives it to Bob. Bob."),
)  # fmt: skip
"""texts of very different lengths"""


def make_files(folder: Path) -> None:
    """Makes the inputs that need no torch: everything but the checkpoints."""
    write_lines(folder / "texts.jsonl", [{"id": f"{n}", "prompt": p, "response": r} for n, (p, r) in enumerate(LINES)])
    write_lines(folder / "many.jsonl", [{"prompt": f"{n} + 1", "response": f"{n + 1}"} for n in range(TEXTS)])
    _benchmark(folder)
    _recipes(folder)
    (folder / "bench.yaml").write_text(
        "name: small\nbudget: 60\ncases: [{families: [half-step, euclidean], sizes: [4, 6], "
        "solvers: [ggw, slb, sorted]}]\n"
    )
    shutil.copy(SPEC, folder / "small.yaml")


def make_models(folder: Path) -> None:
    """Makes the checkpoints, in a process of its own, because it needs torch."""
    process = multiprocessing.get_context("spawn").Process(target=_models, args=(str(folder),))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the checkpoints of the campaign could not be made: exit code {process.exitcode}")


def _models(name: str) -> None:
    import transformers

    from tests.gldbench.conftest import chain_model, character_tokenizer
    from tests.gldfusion.conftest import make_checkpoint

    transformers.utils.logging.disable_progress_bar()
    folder = Path(name)
    for number, kind in enumerate(("pivot", "llama", "qwen2")):
        make_checkpoint(folder / kind, kind, number)
    tokenizer = character_tokenizer()
    chain_model(tokenizer, {"1": "2", "2": "3", "3": "4", "x": "x"}, 256).save_pretrained(folder / "chain")
    tokenizer.save_pretrained(folder / "chain")


def write_lines(path: Path, records: list[dict[str, object]]) -> None:
    """Writes JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def _benchmark(folder: Path) -> None:
    """The benchmark "toy", its data, and responses to it."""
    rows: list[dict[str, object]] = [{"q": f"{n} of {ITEMS}: {n % 4}", "gold": str(n)} for n in range(ITEMS)]
    write_lines(folder / "data" / "toy.jsonl", rows)
    write_task(folder / "tasks", (folder / "data" / "toy.jsonl").read_bytes())
    outputs: list[dict[str, object]] = [
        {"item_id": str(n), "output": f"so the answer is \\boxed{{{n + n % 3}}}."} for n in range(ITEMS)
    ]
    write_lines(folder / "responses.jsonl", outputs)


def write_task(tasks: Path, content: bytes) -> None:
    """Writes the task.yaml of the benchmark "toy" for data of this content."""
    task = {
        "name": "toy", "version": 1, "title": "toy",
        "dataset": {
            "kind": "file", "file": "toy.jsonl", "sha256": hashlib.sha256(content).hexdigest(),
            "count": content.count(b"\n"), "licence": "MIT", "target": "gold",
        },
        "prompt": "{q}", "scorer": "number", "answer_pattern": {"digits": r"(\d+)", "line": "(.+)"},
        "generation": {"max_tokens": 24, "stop": []},
        "headline": {"grader": "ours", "filter": "digits", "metric": "exact_match"},
        "chance": 0.0, "citation": "nobody",
    }  # fmt: skip
    (tasks / "toy").mkdir(parents=True, exist_ok=True)
    (tasks / "toy" / "task.yaml").write_text(yaml.safe_dump(task))


def _recipes(folder: Path) -> None:
    """recipe.yaml trains on live sources, cache.yaml fills a cache in the folder where the command runs."""
    train = {"steps": 12, "batch_size": 4, "learning_rate": 0.01, "warmup": 0, "max_length": 128, "save_every": 2}
    recipe = {
        "name": "small", "pivot": "models/pivot", "data": "texts.jsonl", "lambda": 0.2, "train": train,
        "sources": [{"name": "llama", "checkpoint": "models/llama"}],
        "terms": [{"loss": "uld", "weight": 0.5}],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def cache_recipe(inputs: Path, cache: Path, data: str = "many.jsonl") -> str:
    """The text of a recipe that fills this cache."""
    return yaml.safe_dump(
        {
            "name": "small", "pivot": str(inputs / "models/pivot"), "data": str(inputs / data), "k": 4,
            "sources": [{"name": "llama", "checkpoint": str(inputs / "models/llama"), "cache": str(cache)}],
            "terms": [{"loss": "uld", "weight": 0.5}],
            "train": {"steps": 2, "batch_size": 4, "learning_rate": 0.01, "max_length": 32},
        }
    )  # fmt: skip
