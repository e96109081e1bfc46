"""What an evaluation must know about a checkpoint before it loads the weights: identity, chat template, context."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gldfusion.errors import InputError
from gldfusion.files import hash_checkpoint
from gldfusion.paths import require_checkpoint

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "tekken.json")
"""a folder with a tokenizer holds at least one file of these names"""


@dataclass(frozen=True)
class Checkpoint:
    """A local Hugging Face causal language model."""

    path: Path
    hash: str
    """SHA-256 over weights, configuration and tokenizer"""
    chat_template: str | None
    context: int
    """number of tokens that prompt and answer may have together"""

    @property
    def name(self) -> str:
        """The folder's name and the first eight digits of the hash, so that different weights have different names."""
        return f"{self.path.resolve().name}@{self.hash[:8]}"


def require_files(path: Path) -> None:
    """Checks that a folder holds a configuration, weights and a tokenizer. Imports neither torch nor transformers.

    Raises:
        InputError: the folder or one of these files is missing.
    """
    require_checkpoint(path)
    # without a vocabulary file, transformers loads empty tokenizers for Qwen2, GPT-NeoX and GPT-2
    if not any(file for pattern in VOCABULARIES for file in path.glob(pattern)):
        raise InputError(f"no tokenizer in {path}\nsave it there with `tokenizer.save_pretrained`")


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads configuration and tokenizer of a checkpoint; loads no weights.

    Raises:
        InputError: a file is missing (see `require_files`), the configuration or the tokenizer cannot be read, or the
            tokenizer has no end token.
    """
    require_files(path)
    from lm_eval.models.utils import resolve_max_length  # these two take seconds to import
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"not a checkpoint: transformers cannot read {path}/config.json\n{_short(error)}") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InputError(
            f"no tokenizer in {path} that transformers can read: {_short(error)}\n"
            "save it there with `tokenizer.save_pretrained`"
        ) from None
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {path} has no end-of-sequence token, so that no answer would end\n"
            "set eos_token in tokenizer_config.json"
        )
    template = tokenizer.chat_template
    named_templates = template is not None and not isinstance(template, str)
    return Checkpoint(
        path=path,
        hash=hash_checkpoint(path),
        chat_template=json.dumps(template, sort_keys=True) if named_templates else template,
        context=resolve_max_length(config, tokenizer),
    )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
