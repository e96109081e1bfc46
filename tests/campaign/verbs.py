"""The verbs that write, each with a tiny job: its command, and its result in a form that two runs can compare."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gldbench.store import Store
from tests.campaign.commands import Change, Done, Kill, forked, fresh
from tests.campaign.inputs import cache_recipe

MEASURED = ("s", "B")
"""units of times and of memory, which differ between two equal runs"""
TEMPORARY = re.compile(r"\.(part|old|tmp)$|\.part\.")


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb that writes."""

    arguments: Callable[[Path, Path], list[str]]
    """(folder of the inputs, folder of the trial, where the command runs) -> the arguments"""
    result: Callable[[Path], Any]
    """folder of the trial -> what the command made, without times"""
    outputs: tuple[str, ...]
    """what it writes, below the folder of the trial"""
    own_workers: bool = False
    """it starts workers, which import torch; it runs in a new process then, and else in a child of the server"""
    changes: tuple[Change, ...] = ()
    """values that are changed in modules, so that a tiny job stores its work in as many steps as a long one"""

    def start(self, inputs: Path, folder: Path, kill: Kill | None = None, new_process: bool = False) -> Done:
        """Runs the command in the folder of a trial, and perhaps kills it."""
        folder.mkdir(parents=True, exist_ok=True)
        return self.run_with(self.arguments(inputs, folder), folder, kill, new_process)

    def run_with(
        self, arguments: Sequence[str], folder: Path, kill: Kill | None = None, new_process: bool = False
    ) -> Done:
        """Runs the verb with other arguments."""
        if self.own_workers or new_process:
            return fresh(arguments, folder, kill)
        return forked(arguments, folder, kill, changes=self.changes)


def _store(folder: Path) -> dict[str, Any]:
    """Rows and responses of a store, sorted, with everything that is stored twice still there twice."""
    store = Store(folder)
    responses = [dataclasses.asdict(response) | {"seconds": 0} for response in store.responses()]
    rows = [dataclasses.asdict(row) for row in store.rows()]
    rows = [row | {"value": 0} if row["unit"] in MEASURED else row for row in rows]
    return {"responses": _sorted(responses), "rows": _sorted(rows)}


def _sorted(records: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(record, sort_keys=True, default=str) for record in records)


def _eval(inputs: Path, folder: Path) -> list[str]:
    return [
        "eval", str(inputs / "models/chain"), "--tasks", "toy", "--tasks-dir", str(inputs / "tasks"),
        "--data", str(inputs / "data"), "--output", str(folder / "out"), "--batch-size", "4",
    ]  # fmt: skip


def _eval_result(folder: Path) -> Any:
    scores = json.loads((folder / "out" / "evaluation.json").read_text())["scores"]
    return _store(folder / "out") | {"scores": scores}


def _score(inputs: Path, folder: Path) -> list[str]:
    return [
        "score", "toy", str(inputs / "responses.jsonl"), "--data", str(inputs / "data"),
        "--tasks-dir", str(inputs / "tasks"), "--items", "items.jsonl", "--harness", "ours",
    ]  # fmt: skip


def _score_result(folder: Path) -> Any:
    return (folder / "items.jsonl").read_text().splitlines()


def _fuse(inputs: Path, folder: Path) -> list[str]:
    return ["fuse", str(inputs / "recipe.yaml"), "--output", str(folder / "out")]


def checkpoint_result(checkpoint: Path) -> dict[str, Any]:
    """Weights, tokenizer and log of a fused checkpoint, without times."""
    log = [json.loads(line) for line in (checkpoint / "training_log.jsonl").read_text().splitlines()]
    files = ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json")
    hashes = {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in files}
    return {"log": [{k: v for k, v in entry.items() if k != "seconds"} for entry in log], **hashes}


def _cache(inputs: Path, folder: Path) -> list[str]:
    (folder / "recipe.yaml").write_text(cache_recipe(inputs, folder / "cache"))
    return ["cache", "build", str(folder / "recipe.yaml")]


def _cache_result(folder: Path) -> Any:
    """The names of the shards hold their checksums, so equal names and true checksums are equal content."""
    shards = sorted((folder / "cache").glob("shard-*.safetensors"))
    true = all(hashlib.sha256(path.read_bytes()).hexdigest()[:16] in path.name for path in shards)
    meta = json.loads((folder / "cache" / "meta.json").read_text())
    return {"shards": [path.name for path in shards], "true": true, "meta": meta}


def _bench(inputs: Path, folder: Path) -> list[str]:
    return ["gw", "bench", str(inputs / "bench.yaml"), "--output", str(folder / "out")]


def _bench_result(folder: Path) -> Any:
    rows = json.loads(json.dumps(_store(folder / "out")["rows"]))
    return {"rows": rows, "report": (folder / "out/report/report.md").is_file()}


def _run(inputs: Path, folder: Path) -> list[str]:
    return ["run", str(inputs / "small.yaml"), "--output", str(folder / "out"), "--workers", "1"]


def _run_result(folder: Path) -> Any:
    found = _store(folder / "out")
    found["rows"] = [row for row in found["rows"] if '"suite": "training"' not in row or "loss" in row]
    made = [*folder.glob("out/checkpoints/*/config.json"), *folder.glob("worlds/*/models/*/config.json")]
    return found | {path.parent.name: checkpoint_result(path.parent) for path in sorted(made)}


VERBS: dict[str, Verb] = {
    "eval": Verb(_eval, _eval_result, ("out",), changes=(("gldbench.generate.generate", "FLUSH_SECONDS", 0.0),)),
    "score": Verb(_score, _score_result, ("items.jsonl",)),
    "run": Verb(_run, _run_result, ("out", "worlds"), own_workers=True),
    "fuse": Verb(_fuse, lambda folder: checkpoint_result(folder / "out"), ("out",)),
    "cache": Verb(_cache, _cache_result, ("cache",)),
    "gw": Verb(_bench, _bench_result, ("out",)),
}


def files(folder: Path) -> set[str]:
    """The names of everything below the folder; the checksums in names are left out, because times enter some."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {re.sub(r"(part-)\d+-[0-9a-f]{16}|(plan|shard)-[0-9a-f]{16}", r"\1\2", name) for name in names}


def leftovers(folder: Path, undisturbed: set[str]) -> list[str]:
    """Temporary files, and hidden files that an undisturbed command does not leave."""
    found = files(folder)
    hidden = {name for name in found - undisturbed if any(part.startswith(".") for part in Path(name).parts)}
    return sorted({name for name in found if TEMPORARY.search(name)} | hidden)


def difference(result: Any, expected: Any) -> str:
    """Where two results differ; "" where they are equal."""
    if result == expected:
        return ""
    if isinstance(result, dict) and isinstance(expected, dict):
        for name in expected:
            if result.get(name) != expected[name]:
                return f"{name}: {difference(result.get(name), expected[name])}"
        return f"more than expected: {sorted(set(result) - set(expected))}"
    if isinstance(result, list) and isinstance(expected, list):
        lost = [entry for entry in expected if entry not in result]
        added = [entry for entry in result if entry not in expected]
        first = str((added or lost or ["the same entries, some of them twice"])[0])[:160]
        return f"{len(result)} entries instead of {len(expected)}; lost {len(lost)}, other {len(added)}: {first}"
    return f"{str(result)[:80]} instead of {str(expected)[:80]}"
