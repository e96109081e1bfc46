"""Models of OpenCompass that answer from a file. OpenCompass itself imports this module.

`test_predictions.py` writes the answers: {question: [outputs]}. A question is answered where it stands anywhere in the
prompt.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opencompass.models.base import BaseModel
from opencompass.models.base_api import BaseAPIModel


def answers(path: str, prompts: list[Any]) -> list[str]:
    """The outputs for all prompts, one after the other."""
    known = json.loads(Path(path).read_text(encoding="utf-8"))
    found = []
    for prompt in prompts:
        text = prompt if isinstance(prompt, str) else "\n".join(turn["prompt"] for turn in prompt)
        found += next(outputs for question, outputs in known.items() if question in text)
    return found


class Local(BaseModel):
    """A model whose prompts are texts."""

    def generate(self, inputs: list[str], max_out_len: int) -> list[str]:
        """The stored outputs."""
        return answers(self.path, inputs)


class Served(BaseAPIModel):
    """A model behind an interface, whose prompts are turns with roles."""

    def generate(self, inputs: list[Any], max_out_len: int) -> list[str]:
        """The stored outputs."""
        return answers(self.path, inputs)
