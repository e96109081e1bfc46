"""What an evaluation has to know of a checkpoint before it loads the weights: its identity, template and context."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gldfusion.errors import InputError
from gldfusion.files import hash_checkpoint
from gldfusion.model import require_checkpoint

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "tekken.json")


@dataclass(frozen=True)
class Checkpoint:
    """A local Hugging Face causal language model."""

    path: Path
    hash: str
    """SHA-256 over weights, configuration and tokenizer"""
    chat_template: str | None
    context: int
    """tokens of prompt and answer together"""

    @property
    def name(self) -> str:
        """Folder name and the first digits of the hash: two checkpoints never share it."""
        return f"{self.path.resolve().name}@{self.hash[:8]}"


def open_checkpoint(path: Path) -> Checkpoint:
    """Checks that `path` is a checkpoint with a tokenizer, and says what it is; loads no weights.

    Raises:
        InputError: no folder, no weights, no readable configuration, or no tokenizer with an end token.
    """
    from lm_eval.models.utils import resolve_max_length  # lm_eval and transformers take seconds to import
    from transformers import AutoConfig, AutoTokenizer

    require_checkpoint(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"not a checkpoint: transformers cannot read {path}/config.json\n{_short(error)}") from None
    # without any, the tokenizers of Qwen2, GPT-NeoX and GPT-2 load as empty ones that know no text
    if not any(file for pattern in VOCABULARIES for file in path.glob(pattern)):
        raise InputError(f"no tokenizer in {path}\nsave it there with `tokenizer.save_pretrained`")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InputError(
            f"no tokenizer in {path}: {_short(error)}\nsave it there with `tokenizer.save_pretrained`"
        ) from None
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {path} has no end-of-sequence token: generation could not end\n"
            "set eos_token in tokenizer_config.json"
        )
    template = tokenizer.chat_template
    return Checkpoint(
        path=path,
        hash=hash_checkpoint(path),
        chat_template=template
        if template is None or isinstance(template, str)
        else json.dumps(template, sort_keys=True),
        context=resolve_max_length(config, tokenizer),
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
