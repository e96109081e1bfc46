"""Tiny models that were made from one base, in the folder of a world."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gldbench.worlds.models import initialise
from tests.gldbench.methods.one_base import TEXTS, A, B, Family, change, spec_of


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    """Makes the folder of a world with the models pivot, specialist-a and specialist-b of an architecture."""
    made: dict[str, Path] = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            world = tmp_path_factory.mktemp(architecture)
            initialise(spec_of(architecture).world.pivot, TEXTS, 3, world / "models" / "pivot")
            for seed, name in enumerate((A, B)):
                shutil.copytree(world / "models" / "pivot", world / "models" / name)
                change(world / "models" / name, seed)
            made[architecture] = world
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file of twelve examples."""
    path = tmp_path_factory.mktemp("data") / "fusion-seed0.jsonl"
    lines = [{"id": f"e{i}", "prompt": f"What is {i} + 1?", "response": f"The answer is {i + 1}."} for i in range(12)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
