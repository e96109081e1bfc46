"""What the runner costs over plain lm-eval: `python -m gldbench.benches.generation CHECKPOINT --data DIR`.

Both sides answer the same requests with the same loaded weights and batch size, in turns. Plain: one call of
`HFLM.generate_until`. Ours: `responses_for`, with keys, plan, counts and a store on disk.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from gldbench.generate import hf
from gldbench.generate.checkpoint import Checkpoint, open_checkpoint
from gldbench.generate.generate import BACKENDS, responses_for
from gldbench.generate.plan import answer_limit
from gldbench.generate.quiet import quiet
from gldbench.schema import Item, Task
from gldbench.store import Store
from gldbench.tasks import load_items, load_task
from gldbench.timing import interleaved, pinned_threads

LIMIT = 1.05
"""ours over plain"""


def main(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a Hugging Face causal language model.")],
    data: Annotated[Path, typer.Option(help="Folder of benchmark files.")],
    task: Annotated[str, typer.Option(help="Task whose first items are asked.")] = "gsm8k",
    items: Annotated[int, typer.Option(min=1)] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer; the fewer, the more all else shows.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    repeats: Annotated[int, typer.Option(min=7)] = 7,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Prints one JSON document with every sample; exit code 1 where the median ratio passes LIMIT."""
    opened, whole = open_checkpoint(checkpoint), load_task(task)
    asked = dataclasses.replace(whole, generation=dataclasses.replace(whole.generation, max_tokens=max_tokens))
    rows = load_items(asked, data, items)
    sides: dict[str, Callable[[], list[str]]] = {
        "plain": _plain(opened, asked, rows, batch_size),
        "ours": _ours(opened, asked, rows, batch_size),
    }
    spent: dict[str, list[float]] = {name: [] for name in sides}
    counted = {name: _counting(side, spent[name]) for name, side in sides.items()}
    with pinned_threads(threads):
        timings = interleaved(counted, repeats, budget=float("inf"))
    if timings["plain"].result != timings["ours"].result:
        sys.exit("the two sides wrote different answers: their times do not compare")
    ratios = [o / p for o, p in zip(timings["ours"].samples, timings["plain"].samples, strict=True)]
    ratio = statistics.median(ratios)
    samples = {name: list(timing.samples) for name, timing in timings.items()}
    processor = statistics.median(spent["ours"][1:]) / statistics.median(spent["plain"][1:])  # without the warm-up
    found = {"task": task, "items": len(rows), "seconds": samples, "ratios": ratios, "ratio": ratio}
    print(json.dumps(found | {"processor_seconds": spent, "processor_ratio": processor}, indent=2))
    if ratio > LIMIT:
        sys.exit(1)


def _counting(side: Callable[[], list[str]], spent: list[float]) -> Callable[[], list[str]]:
    """Notes the processor time of every call: what other work on the machine hardly touches."""

    def run() -> list[str]:
        begun = time.process_time()
        result = side()
        spent.append(time.process_time() - begun)
        return result

    return run


def _plain(checkpoint: Checkpoint, task: Task, items: Sequence[Item], batch_size: int) -> Callable[[], list[str]]:
    """What a script over lm-eval does. The end token's text is no stop string of the task, so HFLM adds it itself."""
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
    """The runner on an empty store; loading the weights is left out, as on the other side."""
    loaded = hf.load(checkpoint, None)
    BACKENDS["loaded"] = lambda opened, device, size: hf.HFBackend(opened, loaded, size)

    def run() -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
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


if __name__ == "__main__":
    typer.run(main)
