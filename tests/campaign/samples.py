"""Whole folders that real commands made: the campaign damages copies of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from pathlib import Path

import numpy as np

from tests.campaign.inputs import cache_recipe, make_files, make_models, write_lines
from tests.campaign.verbs import VERBS

_building = threading.Lock()


def inputs_of(shared: Path, models: bool = True) -> Path:
    """The inputs of all commands, which are made once for a campaign. The checkpoints need torch."""
    with _building:
        folder = shared / "inputs"
        if not folder.exists():
            make_files(folder)
        if models and not (folder / "models").exists():
            make_models(folder / "models")
    return folder


def samples_of(shared: Path, commands: bool = True) -> Path:
    """Files of every form that is read and, if `commands`, the folders that the verbs write. Made once."""
    inputs = inputs_of(shared, models=commands)
    with _building:
        folder = shared / "samples"
        if not (folder / "files").exists():
            _files(inputs, folder / "files")
        if commands and not (folder / "cache").exists():
            for name in ("eval", "run", "fuse", "gw"):
                _made(name, inputs, folder / name)
            _cache(inputs, folder / "cache")
    return folder


def _made(name: str, inputs: Path, folder: Path) -> None:
    done = VERBS[name].start(inputs, folder)
    if done.code:
        raise RuntimeError(f"the sample of {name} could not be made: {done.err[-300:]}")


def _cache(inputs: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(cache_recipe(inputs, folder / "cache", "texts.jsonl"))
    done = VERBS["cache"].run_with(["cache", "build", str(folder / "recipe.yaml")], folder)
    if done.code:
        raise RuntimeError(f"the sample of a cache could not be made: {done.err[-300:]}")


def _files(inputs: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("recipe.yaml", "bench.yaml", "small.yaml", "texts.jsonl", "responses.jsonl"):
        (folder / name).write_bytes((inputs / name).read_bytes())
    content = (inputs / "data/toy.jsonl").read_bytes()
    (folder / "toy.jsonl").write_bytes(content)
    (folder / "toy.jsonl.gz").write_bytes(gzip.compress(content))
    (folder / "task.yaml").write_bytes((inputs / "tasks/toy/task.yaml").read_bytes())
    cases: list[dict[str, object]] = [
        {"task": "toy", "item_id": str(n), "output": f"{n}", "expect": 1.0, "kind": "plain"} for n in range(4)
    ]
    write_lines(folder / "cases.jsonl", cases)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    write_lines(folder / "conversations.jsonl", [{"messages": turns}, {"messages": turns * 2}])
    np.save(folder / "logits.npy", np.arange(12.0).reshape(3, 4))


def reseal(folder: Path, changed: Path) -> None:
    """Enters a changed file into the manifests above it, as somebody would who edits a folder with intent."""
    manifests = [place / "manifest.json" for place in changed.parents if place.is_relative_to(folder)]
    for manifest in (path for path in manifests if path.is_file()):
        document = json.loads(manifest.read_bytes())
        name = changed.relative_to(manifest.parent).as_posix()
        if name in document["files"]:
            content = changed.read_bytes()
            document["files"][name] = [len(content), hashlib.sha256(content).hexdigest()]
            manifest.write_text(json.dumps(document))
