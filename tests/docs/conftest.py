"""Reads the fenced blocks of a page, and runs them as a reader would."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GLDBENCH_OPENCOMPASS": str(ROOT / "not-set-up"),  # the pages show what is printed without OpenCompass
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# ([\w./-]+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the block is, if its first line is a comment with a file name."""
        found = FILE_NAME.match(self.text)
        return found[1] if found else None


@pytest.fixture(scope="session")
def section() -> Callable[..., str]:
    """`section(page, heading)`: the text below a heading, up to the next heading of the same level or higher."""

    def read(page: str, heading: str) -> str:
        text = (ROOT / page).read_text(encoding="utf-8")
        level = len(heading) - len(heading.lstrip("#"))
        _, found, rest = text.partition(f"\n{heading}\n")
        assert found, f"{page} has no heading {heading!r}"
        outside = FENCE.sub(lambda fence: " " * len(fence[0]), rest)  # a comment in a block is no heading
        end = re.search(rf"^#{{1,{level}}} ", outside, re.MULTILINE)
        return rest[: end.start()] if end else rest

    return read


@pytest.fixture(scope="session")
def blocks() -> Callable[[str], list[Any]]:
    """`blocks(text)`: the fenced blocks of a text, in order."""
    return lambda text: [Block(*fence) for fence in FENCE.findall(text)]


Said = list[tuple[str, str]]
"""what a page shows as the output of a command, and what was printed"""


@pytest.fixture(scope="session")
def follow() -> Callable[..., Said]:
    """`follow(blocks, folder)`: writes each file and runs each command, in order."""

    def run(found: list[Any], folder: Path) -> Said:
        said, printed = [], ""
        for block in found:
            if block.file is not None:
                (folder / block.file).write_text(block.text)
            elif block.language == "sh":
                command = ["bash", "-euo", "pipefail", "-c", block.text]
                done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
                assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
                printed = done.stdout
            else:
                assert block.language == "text", f"a {block.language} block without a file name: {block.text[:80]}"
                said.append((block.text, printed))
        return said

    return run


@pytest.fixture(scope="session")
def journey_1(section: Any, blocks: Any, follow: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """The folder in which journey 1 of the quickstart was followed, and what was said there.

    The workers of pytest-xdist share it: the first one follows the journey, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / "journey-1", base / "journey-1.json"
    with (base / "journey-1.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir()
            done.write_text(json.dumps(follow(blocks(section("docs/quickstart.md", "## 1. Fuse my models")), folder)))
    return folder, json.loads(done.read_text())


@pytest.fixture(scope="session")
def fused(journey_1: tuple[Path, Said]) -> Path:
    """The folder of journey 1: data.jsonl, recipe.yaml, models/, cache/ and the checkpoint fused/."""
    return journey_1[0]
