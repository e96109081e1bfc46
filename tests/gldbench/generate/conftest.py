"""Every file begins without vLLM: each imports the stand-in itself, and lm-eval registers a class only once."""

from __future__ import annotations

import sys

import pytest
from lm_eval.api.registry import model_registry


@pytest.fixture(scope="module", autouse=True)
def no_vllm() -> None:
    """Forgets the stand-in for vLLM and the classes that were made with it."""
    for name in [name for name in sys.modules if name.endswith(("generate.vllm", "vllm_causallms"))]:
        del sys.modules[name]
    for alias, made in list(model_registry._objs.items()):
        if isinstance(made, type) and made.__module__.endswith("vllm_causallms"):
            del model_registry._objs[alias]
