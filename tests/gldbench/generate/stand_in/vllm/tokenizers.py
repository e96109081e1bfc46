"""vLLM's loader of tokenizers."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer


def get_tokenizer(name: str, **_: Any) -> Any:
    """The checkpoint's tokenizer."""
    return AutoTokenizer.from_pretrained(name)
