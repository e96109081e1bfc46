"""Runs a whole sweep without its models and data: a random model and texts that are made on the spot stand in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gldbench.sweep.definition import Sweep, SweepModel
from gldbench.tables.substitute import tiny_checkpoint
from gldfusion.files import atomic_write

TEXTS, ITEMS = 24, 3
SHORT = {"steps": 3, "batch_size": 4, "micro_batch_size": 2, "max_length": 256, "save_every": 100, "precision": "no"}
"""settings of the training with a substitute"""


def substituted(sweep: Sweep, folder: Path) -> Sweep:
    """The sweep with a random two-layer model for every model, made texts, and three steps.

    Evaluation sets that are here are kept; three made items stand in for the others.

    Args:
        sweep: the sweep.
        folder: where the model and the texts are made.
    """
    path = tiny_checkpoint(folder / "tiny")

    def tiny(models: dict[str, SweepModel]) -> dict[str, SweepModel]:
        stand_in = {"checkpoint": path, "dtype": "float32", "device": None, "offload": False, "vllm": None}
        return {name: one.model_copy(update=stand_in) for name, one in models.items()}

    texts = [_text(number) for number in range(TEXTS)]
    data = _write(folder / "data.jsonl", [{"prompt": p, "response": r} for p, r in texts])
    made = _write(folder / "items.jsonl", [{"instruction": p, "output": r} for p, r in texts[:ITEMS]])
    sets = {name: file if file.is_file() else made for name, file in sweep.evaluation.sets.items()}
    train: dict[str, Any] = dict(sweep.recipe["train"])
    for name in ("epochs", "weights", "evaluate_every"):
        train.pop(name, None)
    if train.get("optimizer") == "adamw_8bit":
        train["optimizer"] = "adamw"
    left = {name: value for name, value in sweep.recipe.items() if name not in ("validation", "data_seed")}
    return sweep.model_copy(
        update={
            "pivots": tiny(sweep.pivots),
            "sources": tiny(sweep.sources),
            "recipe": left | {"data": str(data), "train": train | SHORT},
            "evaluation": sweep.evaluation.model_copy(update={"sets": sets, "max_tokens": 24}),
        }
    )


def _text(number: int) -> tuple[str, str]:
    return f"Count from {number} to {number + 9}.", ", ".join(str(n) for n in range(number, number + 10))


def _write(path: Path, records: list[dict[str, str]]) -> Path:
    with atomic_write(path) as file:
        file.write("".join(json.dumps(record) + "\n" for record in records).encode())
    return path
