"""What an evaluation must know about a checkpoint before it loads the weights: identity, chat template, context."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gldbench.generate.mix import Mix, is_mix, read_mix, require_unchanged
from gldfusion.errors import InputError
from gldfusion.files import hash_json
from gldfusion.hashes import hash_checkpoint
from gldfusion.paths import require_checkpoint

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "tekken.json")
"""a folder with a tokenizer holds at least one file of these names"""


DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Engine:
    """How a backend loads a checkpoint, where it has a choice."""

    dtype: str = "auto"
    """data type of the weights, one of DTYPES; "auto": as they are stored"""
    tensor_parallel: int = 1
    """number of GPUs that share the model; only the backend vllm can use more than one"""


AS_STORED = Engine()


@dataclass(frozen=True)
class Checkpoint:
    """A local Hugging Face causal language model, or a mix of several."""

    path: Path
    hash: str
    """SHA-256 over weights, configuration and tokenizer"""
    chat_template: str | None
    context: int
    """number of tokens that prompt and answer may have together"""
    trust_remote_code: bool = False
    """whether code that the checkpoint brings may run"""
    engine: Engine = AS_STORED
    mix: Mix | None = None
    """the models whose logits are mixed, if the folder is a mix; None for an ordinary checkpoint"""

    @property
    def pivot(self) -> Path:
        """The folder with the tokenizer: the checkpoint itself, or the pivot of a mix."""
        return self.path if self.mix is None else self.path / self.mix.pivot.path

    @property
    def name(self) -> str:
        """The folder's name and the first eight digits of the hash, so that different weights have different names."""
        return f"{self.path.resolve().name}@{self.hash[:8]}"


def require_files(path: Path, trust_remote_code: bool = False) -> None:
    """Checks that a folder holds a configuration, weights and a tokenizer. Imports neither torch nor transformers.

    Args:
        path: the folder.
        trust_remote_code: whether code that the checkpoint brings may run.

    Raises:
        InputError: the folder or one of these files is missing, the weights are pickled, or the checkpoint brings code
            that may not run.
    """
    if is_mix(path):
        for part in read_mix(path).parts:
            require_files(path / part.path, trust_remote_code)
        return
    require_checkpoint(path, trust_remote_code)
    # without a vocabulary file, transformers loads empty tokenizers for Qwen2, GPT-NeoX and GPT-2
    if not any(file for pattern in VOCABULARIES for file in path.glob(pattern)):
        raise InputError(f"no tokenizer in {path}\nsave it there with `tokenizer.save_pretrained`")


def open_checkpoint(path: Path, trust_remote_code: bool = False, engine: Engine = AS_STORED) -> Checkpoint:
    """Reads configuration and tokenizer of a checkpoint; loads no weights.

    Args:
        path: folder of the checkpoint.
        trust_remote_code: whether code that the checkpoint brings may run.
        engine: how a backend will load it.

    Raises:
        InputError: a file is missing (see `require_files`) or damaged, the configuration or the tokenizer cannot be
            read, the tokenizer has no end token, or the chat template cannot be used.
    """
    require_files(path, trust_remote_code)
    if is_mix(path):
        return _open_mix(path, trust_remote_code, engine)
    from gldfusion.checkpoint import reading, require_intact, require_settings

    require_intact(path)
    require_settings(path)
    from lm_eval.models.utils import resolve_max_length  # these two take seconds to import
    from transformers import AutoConfig

    with reading(path, "the configuration"):
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    tokenizer = load_tokenizer(path, trust_remote_code)
    with reading(path, "the configuration"):
        context = int(resolve_max_length(config, tokenizer))
    template = tokenizer.chat_template
    named_templates = template is not None and not isinstance(template, str)
    return Checkpoint(
        path=path,
        hash=hash_checkpoint(path),
        chat_template=json.dumps(template, sort_keys=True) if named_templates else template,
        context=context,
        trust_remote_code=trust_remote_code,
        engine=engine,
    )


def _open_mix(path: Path, trust_remote_code: bool, engine: Engine) -> Checkpoint:
    """As `open_checkpoint`. A mix has the tokenizer of its pivot, and the shortest context of its parts."""
    mix = read_mix(path)
    require_unchanged(path, mix)
    pivot, *others = (open_checkpoint(path / part.path, trust_remote_code, engine) for part in mix.parts)
    hashes = [mix.pivot.hash, *((one.tuned.hash, one.base.hash) for one in mix.experts)]
    identity = [mix.method, mix.alphas, mix.one_at_a_time, hashes]
    context = min(part.context for part in (pivot, *others))
    return dataclasses.replace(pivot, path=path, hash=hash_json(identity), context=context, mix=mix)


def load_tokenizer(path: Path, trust_remote_code: bool) -> Any:
    """Loads the tokenizer of a checkpoint, fast or slow.

    Raises:
        InputError: it cannot be read, has no end token, or has a chat template that cannot be used.
    """
    from transformers import AutoTokenizer

    from gldfusion.checkpoint import reading
    from gldfusion.templates import require_template

    with reading(path, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer of {path} has no end-of-sequence token, so that no answer would end\n"
            "set eos_token in tokenizer_config.json"
        )
    require_template(tokenizer, path)
    return tokenizer
