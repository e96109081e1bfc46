"""Writes the output folder of a fusion: what `from_pretrained` needs, and a record of how the checkpoint was made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, cast

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from gldfusion.chat import stop_tokens
from gldfusion.files import write_json
from gldfusion.licences import licence_table
from gldfusion.manifest import sealed_dir
from gldfusion.model import quiet
from gldfusion.recipe import Recipe
from gldfusion.state import Log
from gldfusion.templates import DATE
from gldfusion.turns import turn_end

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "gldbench")

STOP_TEXT = """
The chat template ends a turn with plain text, so give it to `generate`: `stop_strings=[{text}]`.
"""
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
{code}
Licences of what it was made of, as their own cards state them:

{licences}"""


class Writable(Protocol):
    """A model that can be written into a folder (see `trained.Trained`)."""

    @property
    def model(self) -> PreTrainedModel:
        """Its structure and configurations."""
        ...

    def save(self, folder: Path) -> None:
        """Writes its weights and configurations into an existing folder."""
        ...


@dataclass(frozen=True)
class Whole:
    """A model whose own tensors are what is written, in their dtype."""

    model: PreTrainedModel

    def save(self, folder: Path) -> None:
        """Writes weights and configurations into an existing folder."""
        self.model.save_pretrained(folder)


def export(
    trained: Writable,
    tokenizer: PreTrainedTokenizerBase,
    provenance: Mapping[str, Any],
    card: str,
    log: Log,
    totals: Mapping[str, Any],
    output: Path,
    add: Callable[[Path], None] = lambda folder: None,
) -> None:
    """Writes the fused checkpoint. After an error no part of it is left.

    Args:
        trained: the trained pivot.
        tokenizer: the pivot's tokenizer.
        provenance: content of fusion.json; see `make_provenance`.
        card: content of README.md; see `make_card`.
        log: one entry for each step, for training_log.jsonl.
        totals: sums over the training, for training_totals.json.
        output: the folder. It must not exist.
        add: puts more files into the folder before it gets its manifest and its name.

    Raises:
        InputError: `output` exists.
        OSError: the disk is full.
    """
    end = turn_end(tokenizer)
    with sealed_dir(output) as folder:
        save_model(trained, tokenizer, folder)
        add(folder)
        write_json(folder / "fusion.json", provenance)
        write_json(folder / "training_totals.json", totals)
        (folder / "training_log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
        (folder / "README.md").write_text(
            card + (STOP_TEXT.format(text=json.dumps(end.text)) if end.token is None else "")
        )


@contextmanager
def _stopping(model: PreTrainedModel, tokens: Sequence[int]) -> Iterator[None]:
    """Adds tokens to those at which generation stops by the model's generation configuration, while the block lasts."""
    settings = cast(GenerationConfig, model.generation_config)
    own = settings.eos_token_id
    known = [] if own is None else list(own) if isinstance(own, list | tuple) else [own]
    whole = list(dict.fromkeys([*known, *tokens]))
    settings.eos_token_id = whole[0] if len(whole) == 1 else whole
    try:
        yield
    finally:
        settings.eos_token_id = own


def save_model(trained: Writable, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Writes weights or adapters, configurations, tokenizer and chat template into a folder.

    By the generation configuration that is written, generation also stops at the token that ends a turn.
    """
    with quiet(), _stopping(trained.model, stop_tokens(tokenizer)):
        trained.save(folder)
        tokenizer.save_pretrained(folder)


def make_provenance(
    recipe: Recipe,
    identity: Mapping[str, str],
    sources: Mapping[str, str],
    log: Log,
    unpacked: str | None,
    processes: int,
) -> dict[str, Any]:
    """The content of fusion.json. It holds no times, so equal fusions have equal files.

    Args:
        recipe: the recipe.
        identity: hashes of the pivot, the data and the settings, by name.
        sources: hashes of the source checkpoints, by name of the source.
        log: one entry for each step.
        unpacked: why texts did not share rows; None if they did.
        processes: how many processes trained together at the last step.
    """
    return {
        "recipe": recipe.model_dump(mode="json", by_alias=True),
        "trust_remote_code": recipe.trust_remote_code,
        "chat_date": DATE,
        "identity": identity,
        "schedule": schedule(log),
        "packing": unpacked is None,
        "not_packed_because": unpacked,
        "sources": sources,
        "processes": processes,
        "versions": versions(PACKAGES),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed versions of packages. A checkout that runs without being installed has none."""
    found: dict[str, str] = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def schedule(log: Log) -> list[dict[str, int]]:
    """What decided the learning rates: from which step on they followed the schedule of how many steps."""
    changes = [entry for entry, before in zip(log, [{}, *log], strict=False) if entry["steps"] != before.get("steps")]
    return [{"from_step": entry["step"], "steps": entry["steps"]} for entry in changes]


def make_card(recipe: Recipe, steps: int) -> str:
    """The model card: README.md of the checkpoint, which was trained for `steps` steps."""
    terms = "".join(f" + {term.weight:g} {term.loss}" for term in recipe.terms)
    return CARD.format(
        name=recipe.name,
        pivot=recipe.pivot.name,
        steps=steps,
        examples=", ".join(part.path.name if part.path else part.name for part in recipe.data),
        sources="the sources " + ", ".join(s.name for s in recipe.sources) if recipe.sources else "no source",
        code=CODE if recipe.trust_remote_code else "",
        licences=licence_table(recipe),
        loss=f"{1 - recipe.lambda_:g} sft{terms}",
    )
