"""Measures what our generation costs compared with plain lm-eval.

    python -m gldbench.benches.generation CHECKPOINT --data DIR

Both sides answer the same requests, with the same loaded weights and batch size, in turns. The plain side is one call
of `HFLM.generate_until`. Our side is `responses_for`, with its keys, plan, token counts and a store on disk. The exit
code is 1 if the median ratio of seconds, ours to plain, is above 1.05.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from gldbench.benches.command_line import Script
from gldbench.console import reporter
from gldbench.generate import hf
from gldbench.generate.checkpoint import Checkpoint, open_checkpoint, require_files
from gldbench.generate.generate import BACKENDS, responses_for
from gldbench.generate.plan import answer_limit
from gldbench.generate.quiet import quiet
from gldbench.schema import Item, Task
from gldbench.store import Store
from gldbench.tasks import load_items, load_task
from gldbench.timing import MIN_REPEATS, interleaved, pinned_threads
from gldfusion.errors import InputError

LIMIT = 1.05
"""largest allowed ratio of seconds, ours to plain"""


def _script() -> Script:
    script = Script("generation", __doc__)
    script.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="Folder of a causal language model.")
    script.data()
    script.option("--task", "gsm8k", "Name of the task; its first items are asked.", metavar="NAME")
    script.whole("--items", 64, "Items to ask.", quick=8)
    tokens = "Token limit of each answer. A small limit makes fixed overhead visible."
    script.whole("--max-tokens", 128, tokens, quick=16)
    script.whole("--batch-size", 32, "Sequences that are generated at once.", quick=8)
    script.whole("--repeats", 7, f"Samples of each side, at least {MIN_REPEATS}.", least=MIN_REPEATS)
    script.threads()
    return script


def _work(given: Namespace) -> int:
    require_files(given.checkpoint)
    task = load_task(given.task)
    if task.kind != "generation":
        raise InputError(
            f"--task: expected a task whose answers are generated, got {given.task}, which scores log-likelihoods"
        )
    task = dataclasses.replace(task, generation=dataclasses.replace(task.generation, max_tokens=given.max_tokens))
    items = load_items(task, given.data, given.items)
    opened = open_checkpoint(given.checkpoint)
    steps = ("load the model twice", f"both sides, {given.repeats} rounds")
    with reporter("bench generation") as report, pinned_threads(given.threads):
        for step in steps:
            report(step, 0, 1)
        sides = {
            "plain": _plain(opened, task, items, given.batch_size),
            "ours": _ours(opened, task, items, given.batch_size),
        }
        report(steps[0], 1, 1)
        found = {"task": given.task, "items": len(items)} | measure(sides, given.repeats)
        report(steps[1], 1, 1)
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    return 1 if found["ratio"] > LIMIT else 0


def measure(sides: dict[str, Callable[[], list[str]]], repeats: int) -> dict[str, Any]:
    """Times both sides in turns.

    Args:
        sides: "plain" and "ours" -> a function that answers all items.
        repeats: samples of each side.

    Returns:
        All samples in seconds and in processor seconds, and their ratios, ours to plain.
    """
    spent: dict[str, list[float]] = {name: [] for name in sides}
    counted = {name: _counting(side, spent[name]) for name, side in sides.items()}
    timings = interleaved(counted, repeats, budget=float("inf"))
    if timings["plain"].result != timings["ours"].result:
        sys.exit("the two sides wrote different answers, so their times are not compared")
    ratios = [o / p for o, p in zip(timings["ours"].samples, timings["plain"].samples, strict=True)]
    processor = statistics.median(spent["ours"][1:]) / statistics.median(spent["plain"][1:])  # without the warm-up
    return {
        "seconds": {name: list(timing.samples) for name, timing in timings.items()},
        "ratios": ratios,
        "ratio": statistics.median(ratios),
        "processor_seconds": spent,
        "processor_ratio": processor,
    }


def _print(found: dict[str, Any]) -> None:
    print(f"{found['task']}, {found['items']} items, {len(found['ratios'])} rounds")
    for name, seconds in found["seconds"].items():
        print(f"{name:5s} {statistics.median(seconds):9.3f} s")
    print(
        f"ours to plain: {found['ratio']:.3f} of the seconds, {found['processor_ratio']:.3f} of the processor seconds"
    )
    if found["ratio"] > LIMIT:
        print(f"the ratio of seconds is above the limit {LIMIT}")


def _counting(side: Callable[[], list[str]], spent: list[float]) -> Callable[[], list[str]]:
    """Also notes the processor time of every call, which other work on the machine hardly changes."""

    def run() -> list[str]:
        begun = time.process_time()
        result = side()
        spent.append(time.process_time() - begun)
        return result

    return run


def _plain(checkpoint: Checkpoint, task: Task, items: Sequence[Item], batch_size: int) -> Callable[[], list[str]]:
    """What a script that uses lm-eval directly does. HFLM adds the end token to the stop strings itself."""
    model, tokenizer = hf.load(checkpoint, None)
    make: Any = HFLM  # lm-eval's registry decorator hides the type of the class
    with quiet():
        plain = make(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    settings = {
        "until": list(task.generation.stop),
        "max_gen_toks": answer_limit(task, checkpoint),
        "do_sample": False,
    }

    def run() -> list[str]:
        prompts = [item.prompt for item in items]
        if checkpoint.chat_template is not None:
            prompts = [plain.apply_chat_template([{"role": "user", "content": prompt}]) for prompt in prompts]
        requests = [Instance("generate_until", {}, (prompt, settings), row) for row, prompt in enumerate(prompts)]
        with quiet():
            return plain.generate_until(requests, disable_tqdm=True)

    return run


def _ours(checkpoint: Checkpoint, task: Task, items: Sequence[Item], batch_size: int) -> Callable[[], list[str]]:
    """`responses_for` with an empty store. As on the plain side, the loading of the weights does not count."""
    loaded = hf.load(checkpoint, None)
    backends = {"loaded": lambda opened, device, size: hf.HFBackend(opened, loaded, size)}

    def run() -> list[str]:
        with tempfile.TemporaryDirectory() as folder, patch.dict(BACKENDS, backends):
            answered = responses_for(
                checkpoint,
                [(task, items)],
                Store(Path(folder)),
                subject="overhead",
                backend="loaded",
                batch_size=batch_size,
            )
        return [response.output for response in answered.responses]

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
