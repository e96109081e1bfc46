"""Several processes fill one cache: nothing is lost, nothing is done twice, and a killed one's work is taken over."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gldfusion.cache import SourceCache, build_cache, build_with_workers, verify_cache
from gldfusion.cache.build import _Builder
from gldfusion.data import read_examples
from gldfusion.errors import InputError
from gldfusion.recipe import DataPart
from gldfusion.sources import Example

TEXTS = 40


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    path = tmp_path_factory.mktemp("builders") / "data.jsonl"
    made = ({"prompt": f"{n}: {e.prompt}", "response": e.response} for n in range(TEXTS // 10) for e in examples)
    path.write_text("".join(json.dumps(record) + "\n" for record in made))
    return path


def run(models: dict[str, Path], cache: Path, data: Path, *words: str) -> dict[str, Any]:
    """Runs cache_builders.py."""
    script = str(Path(__file__).with_name("cache_builders.py"))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, script, str(models["llama"]), str(cache), str(data), *words],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def alone(models: dict[str, Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that one process makes; shards are named by their content."""
    cache = tmp_path_factory.mktemp("alone") / "cache"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes do, so that every bit is the same
    assert build_cache(models["llama"], cache, read_examples(data), 6, 128, shard_size=2) == TEXTS
    torch.set_num_threads(threads)
    return cache


def files(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_four_processes_make_what_one_makes(models: dict[str, Path], data: Path, alone: Path, tmp_path: Path) -> None:
    said = run(models, tmp_path / "cache", data, *["build"] * 4)
    assert said["codes"] == [0, 0, 0, 0]
    assert sum(said["ran"]) == TEXTS  # no text twice
    assert sum(ran > 0 for ran in said["ran"]) > 1
    assert files(tmp_path / "cache") == files(alone)
    assert sorted(os.listdir(tmp_path)) == [".cache.lock", "cache"]


def test_what_killed_processes_held_is_taken_over(
    models: dict[str, Path], data: Path, alone: Path, tmp_path: Path
) -> None:
    said = run(models, tmp_path / "cache", data, "die", "build", "die later", "build")
    assert said["codes"] == [-9, 0, -9, 0]
    assert TEXTS - 2 <= sum(said["ran"]) <= TEXTS  # one shard was stored by a process that could not say so
    assert files(tmp_path / "cache") == files(alone)
    assert len(SourceCache("s", tmp_path / "cache").read(read_examples(data))) == TEXTS


@pytest.mark.slow
def test_workers(models: dict[str, Path], data: Path, tmp_path: Path) -> None:
    """Two worker processes by one call; what one cannot do is told as if there were none."""
    arguments: dict[str, Any] = {"cache": tmp_path / "cache", "k": 6, "max_length": 128}
    seen: list[tuple[int, int]] = []
    parts = [DataPart(path=data)]
    arguments["shard_size"] = 4
    ran = build_with_workers(
        parts, 0, 2, lambda done, total: seen.append((done, total)), checkpoint=models["llama"], **arguments
    )
    assert ran == TEXTS
    assert max(seen) == (TEXTS, TEXTS)
    assert verify_cache(tmp_path / "cache") == (10, [])
    with pytest.raises(InputError, match="not a checkpoint"):
        build_with_workers(parts, 0, 2, checkpoint=tmp_path, **arguments)


def test_a_builder_leaves_the_files_of_others_alone(
    models: dict[str, Path], examples: list[Example], tmp_path: Path
) -> None:
    """Half-written shards are removed by a builder that is alone, not while another may be writing them."""
    cache, half = tmp_path / "cache", tmp_path / "cache" / ".shard-0123456789abcdef.safetensors.abcdefgh.part"
    build_cache(models["llama"], cache, [], 6, 128)
    half.write_bytes(b"half")
    with (tmp_path / ".cache.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert build_cache(models["llama"], cache, examples[:2], 6, 128) == 2
        assert half.exists()
    assert build_cache(models["llama"], cache, examples[:2], 6, 128) == 0
    assert not half.exists()


def test_a_builder_notices_what_others_have_stored(
    models: dict[str, Path], examples: list[Example], tmp_path: Path
) -> None:
    """It looked before the other began, and comes to the same part after it."""
    cache = tmp_path / "cache"
    build_cache(models["llama"], cache, [], 6, 128)
    slow = _Builder(cache, examples, 4)
    assert build_cache(models["llama"], cache, examples, 6, 128, shard_size=4) == 10

    def unneeded() -> Any:
        raise AssertionError("the source was loaded for texts that are stored")

    assert slow.fill(unneeded, None) == 0
