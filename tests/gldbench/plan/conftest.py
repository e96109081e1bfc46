"""Small recipes on random models that are made on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gldbench.tables.substitute import tiny_checkpoint

RecipeMaker = Callable[..., Path]


@pytest.fixture
def make_recipe(tmp_path: Path) -> RecipeMaker:
    """Writes a recipe whose pivot and live source are random two-layer models; keywords change it and its `train`."""

    def make(name: str = "small", texts: int = 64, **changes: Any) -> Path:
        tiny_checkpoint(tmp_path / "models" / "tiny")
        lines = [{"prompt": f"Count to {i}.", "response": ", ".join(map(str, range(i + 20)))} for i in range(texts)]
        (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        train = {"steps": 40, "batch_size": 8, "learning_rate": 1e-3, "max_length": 256}
        content: dict[str, Any] = {
            "name": name,
            "pivot": "models/tiny",
            "data": "data.jsonl",
            "sources": [{"name": "source-a", "checkpoint": "models/tiny"}],
            "terms": [{"loss": "uld", "weight": 0.5}, {"loss": "gld", "weight": 0.1}],
            "lambda": 0.5,
            "train": train | changes.pop("train", {}),
        } | changes
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return make


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """A random pivot of 13 million parameters, so that its weights and its states count beside Python's own memory."""
    tiny = tiny_checkpoint(tmp_path / "models" / "tiny")
    config = LlamaConfig.from_pretrained(
        tiny, hidden_size=512, intermediate_size=1536, num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=8
    )
    folder = tmp_path / "models" / "medium"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast.from_pretrained(tiny).save_pretrained(folder)
    return folder
