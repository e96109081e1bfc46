"""Measures how long several processes of a training need until they hold the encoded texts, and how much memory.

    python -m gldbench.benches.startup                 130,000 made texts of about 400 words, two processes
    python -m gldbench.benches.startup --only file again

There are three ways to start. With "lists" each process reads and encodes all texts for itself, into Python lists.
With "file" the texts are encoded once into an Arrow file that all processes map (`gldfusion.texts`). With "again" this
file is there already. Memory is the proportional set size of Linux: a page that two processes share counts half for
each. The processor time is that of all processes, worker processes included.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from threading import Barrier
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gldbench.benches.command_line import Script, require_names
from gldbench.benches.write_rows import row, write
from gldbench.console import reporter
from gldbench.jobs import Report
from gldbench.schema import Row
from gldbench.tables.substitute import tiny_checkpoint
from gldbench.timing import pinned_threads
from gldfusion.errors import InputError
from gldfusion.examples import read_examples
from gldfusion.model import load_tokenizer
from gldfusion.recipe import DataPart
from gldfusion.sources import encode_example
from gldfusion.texts import Encoding, load_texts, store

KINDS = ("lists", "file", "again")
UNITS = {"seconds": "s", "processor": "s", "memory": "B", "peak": "B"}
"""metric -> unit. "memory" is what the processes hold after they read all texts once; "peak" is the most until then"""
WORDS = 20_000
LONGEST = 8192
"""largest number of tokens of a text: none is cut off"""
INTERVAL = 1.0
"""seconds between two looks at the memory"""


def make_data(path: Path, examples: int, words: int) -> None:
    """Writes texts of random words: a quarter of the words are the prompt.

    Args:
        path: the file.
        examples: number of texts.
        words: mean number of words of a text. The numbers are between half and three halves of it.
    """
    draw = random.Random(0)
    known = _words()
    with path.open("w") as file:
        for _ in range(examples):
            text = draw.choices(known, k=draw.randint(words // 2, words + words // 2))
            cut = len(text) // 4
            record = {"prompt": " ".join(text[:cut]), "response": " ".join(text[cut:])}
            file.write(json.dumps(record) + "\n")


def make_pivot(folder: Path) -> Path:
    """Makes a checkpoint with a chat template, whose tokenizer has the words of the data as tokens."""
    tiny_checkpoint(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=3 * WORDS, special_tokens=["<end>", "<user>", "<answer>"], show_progress=False
    )
    tokenizer.train_from_iterator([" " + word for word in _words()], trainer)
    template = json.loads((folder / "tokenizer_config.json").read_text()).get("chat_template")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", chat_template=template).save_pretrained(
        folder
    )
    return folder


def _words() -> list[str]:
    draw = random.Random(1)
    return ["".join(draw.choices("aeionrstlcdmpu", k=draw.randint(2, 9))) for _ in range(WORDS)]


def start(kind: str, data: Path, pivot: Path, begin: Barrier, end: Barrier, reports: SimpleQueue[Any]) -> None:
    """What one process does: it gets the texts, and reports the seconds and its growth."""
    tokenizer = load_tokenizer(pivot)
    before = pss(os.getpid())
    begin.wait()
    started = time.perf_counter()
    if kind == "lists":
        examples = read_examples(data)
        held: Any = examples, [encode_example(tokenizer, example, LONGEST) for example in examples]
    else:
        store.LARGE = 0
        texts = load_texts([DataPart(path=data)], 0, tokenizer, Encoding(pivot, False, LONGEST, "parse"))
        held = texts.examples, texts.encoded
    seconds = time.perf_counter() - started
    for _ in zip(*held, strict=True):
        pass  # as an epoch does: now all pages of a file are in memory
    gc.collect()
    end.wait()  # both hold their texts, so shared pages count half
    reports.put((seconds, pss(os.getpid()) - before))
    end.wait()
    del held


def measure(kind: str, data: Path, pivot: Path, processes: int) -> dict[str, float]:
    """Starts the processes and waits for them; returns metric -> value."""
    context = multiprocessing.get_context("spawn")
    begin, end, reports = context.Barrier(processes), context.Barrier(processes), context.SimpleQueue()
    ranks = [context.Process(target=start, args=(kind, data, pivot, begin, end, reports)) for _ in range(processes)]
    with watched() as seen:
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
    if any(rank.exitcode for rank in ranks):
        raise InputError(f"a process ended with exit code {[rank.exitcode for rank in ranks]}\nsee what it printed")
    said = [reports.get() for _ in ranks]
    return {
        "seconds": max(seconds for seconds, _ in said),
        "processor": sum(seen.processor.values()),
        "memory": sum(growth for _, growth in said),
        "peak": seen.peak,
    }


@dataclasses.dataclass
class Seen:
    """What was seen of the processes below this one."""

    processor: dict[int, float] = dataclasses.field(default_factory=dict)
    """process -> its processor seconds when it was last seen"""
    peak: float = 0.0
    """largest sum of their memory, in bytes"""


@contextmanager
def watched() -> Iterator[Seen]:
    """Looks at all processes below this one every `INTERVAL` seconds."""
    seen, over = Seen(), threading.Event()

    def look() -> None:
        while not over.wait(INTERVAL):
            found = below(os.getpid())
            seen.peak = max(seen.peak, sum(pss(pid) for pid in found))
            seen.processor |= {pid: seconds for pid in found if (seconds := processor(pid))}

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def below(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *below(child)]
    return found


def pss(pid: int) -> float:
    """The proportional set size of a process in bytes; 0 if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024.0 * int(line.split()[1])
    return 0.0


def processor(pid: int) -> float:
    """The processor seconds of a process so far; 0 if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def run(folder: Path, given: Namespace, report: Report) -> dict[str, dict[str, float]]:
    """Measures each kind; returns kind -> metric -> value.

    Args:
        folder: where data, pivot and the encoded texts go.
        given: the options examples, words, processes and only.
        report: called with each kind, before and after it.
    """
    data, pivot = folder / "data.jsonl", make_pivot(folder / "pivot")
    make_data(data, given.examples, given.words)
    for kind in given.only:
        report(kind, 0, 1)
    found = {}
    for kind in given.only:
        found[kind] = measure(kind, data, pivot, given.processes)
        report(kind, 1, 1)
    return found


def as_rows(found: dict[str, dict[str, float]], variant: str) -> list[Row]:
    """Makes one row for each number."""
    rows = [
        row("startup", variant, kind, metric, value, UNITS[metric])
        for kind, values in found.items()
        for metric, value in values.items()
    ]
    return [dataclasses.replace(r, suite="startup") for r in rows]


def _script() -> Script:
    script = Script("startup", __doc__)
    script.whole("--examples", 130_000, "Number of texts.", quick=500)
    script.whole("--words", 400, "Mean number of words of a text.", quick=50, least=8)
    script.whole("--processes", 2, "Processes of the training.")
    script.option("--only", KINDS, "Ways to start, in this order.", nargs="+", metavar="KIND")
    script.output(None)
    return script


def _work(given: Namespace) -> int:
    given.only = require_names("way to start", given.only, KINDS)
    if "again" in given.only and "file" not in given.only[: given.only.index("again")]:
        raise InputError("--only: again finds the file that file wrote\nname file before it")
    if not Path("/proc/self/smaps_rollup").exists():
        raise InputError("this system does not tell the memory of a process (/proc/self/smaps_rollup)\nuse Linux")
    with (
        tempfile.TemporaryDirectory() as folder,
        _cache(folder),
        pinned_threads(1),
        reporter("bench startup") as report,
    ):
        found = run(Path(folder), given, report)
    if given.output:
        variant = f"{given.examples} texts {given.words} words {given.processes} processes"
        write(as_rows(found, variant), given.output, "bench_startup", threads=1, quick=given.quick)
    if given.json:
        print(json.dumps(found, indent=2))
        return 0
    for kind, values in found.items():
        print(f"{kind:6s} " + ", ".join(f"{metric} {_shown(metric, value)}" for metric, value in values.items()))
    return 0


def _shown(metric: str, value: float) -> str:
    return f"{value / 1e9:.2f} GB" if UNITS[metric] == "B" else f"{value:.1f} s"


@contextmanager
def _cache(folder: str) -> Iterator[None]:
    """Encoded texts go into the folder, and not into the user's cache."""
    before = os.environ.get("GLDFUSION_CACHE")
    os.environ["GLDFUSION_CACHE"] = str(Path(folder) / "cache")
    try:
        yield
    finally:
        if before is None:
            del os.environ["GLDFUSION_CACHE"]
        else:
            os.environ["GLDFUSION_CACHE"] = before


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
