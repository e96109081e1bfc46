"""Writes the output folder of a fusion: what `from_pretrained` needs, and a record of how the checkpoint was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gldfusion.files import write_json
from gldfusion.manifest import sealed_dir
from gldfusion.model import quiet
from gldfusion.recipe import Recipe
from gldfusion.state import Log

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "gldbench")

CODE = """
Code that the pivot or the sources bring with them was run (`trust_remote_code`).
"""
CARD = """---
library_name: transformers
tags: [model-fusion, gldbench]
---
# {name}

A fused checkpoint: the pivot `{pivot}` trained for {steps} steps on {examples} with
{sources}.

Loss: `{loss}`. Recipe, hashes of pivot, sources and data, and package versions: `fusion.json`;
loss terms by step: `training_log.jsonl`. Made with gldbench (graph-on-logits distillation, arXiv 2505.13893).
{code}"""


def export(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    provenance: Mapping[str, Any],
    card: str,
    log: Log,
    totals: Mapping[str, Any],
    output: Path,
) -> None:
    """Writes the fused checkpoint. After an error no part of it is left.

    Args:
        model: the trained pivot.
        tokenizer: the pivot's tokenizer.
        provenance: content of fusion.json; see `make_provenance`.
        card: content of README.md; see `make_card`.
        log: one entry for each step, for training_log.jsonl.
        totals: sums over the training, for training_totals.json.
        output: the folder. It must not exist.

    Raises:
        InputError: `output` exists.
        OSError: the disk is full.
    """
    with sealed_dir(output) as folder, quiet():
        model.save_pretrained(folder)  # weights, configuration, generation configuration
        tokenizer.save_pretrained(folder)  # and its chat template
        write_json(folder / "fusion.json", provenance)
        write_json(folder / "training_totals.json", totals)
        (folder / "training_log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
        (folder / "README.md").write_text(card)


def make_provenance(
    recipe: Recipe, identity: Mapping[str, str], sources: Mapping[str, str], processes: int
) -> dict[str, Any]:
    """The content of fusion.json. It holds no times, so equal fusions have equal files.

    Args:
        recipe: the recipe.
        identity: hashes of the pivot, the data and the settings, by name.
        sources: hashes of the source checkpoints, by name of the source.
        processes: how many processes trained together at the last step.
    """
    return {
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "trust_remote_code": recipe.trust_remote_code,
        "identity": identity,
        "sources": sources,
        "processes": processes,
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def make_card(recipe: Recipe) -> str:
    """The model card: README.md of the checkpoint."""
    terms = "".join(f" + {term.weight:g} {term.loss}" for term in recipe.terms)
    return CARD.format(
        name=recipe.name,
        pivot=recipe.pivot.name,
        steps=recipe.train.steps,
        examples=recipe.data.name,
        sources="the sources " + ", ".join(s.name for s in recipe.sources) if recipe.sources else "no source",
        code=CODE if recipe.trust_remote_code else "",
        loss=f"{1 - recipe.lambda_:g} sft{terms}",
    )
