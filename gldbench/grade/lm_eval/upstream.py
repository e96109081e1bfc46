"""The grader "lm_eval" where the benchmark is a task of lm-eval: stored outputs through that task's own filters and
metrics, as the installed version defines them.

What is replayed is the grading. lm-eval's prompt and stop strings are not: the outputs were generated for ours, and an
output that a stop string of lm-eval's would have cut off is graded whole. A low score here may therefore say that the
filter looks for another prompt's answer format; the rows say what lm-eval would make of these outputs, bugs included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import lm_eval.utils
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks._yaml_loader import load_yaml  # the only reader of task files that loads no data

from gldbench.generate.quiet import quiet
from gldbench.grade.grader import Grade, status_of
from gldbench.grade.judges.loglikelihood import LETTERS, likelihoods
from gldbench.grade.lm_eval.catalogue import UpstreamTask, upstream_of
from gldbench.grade.lm_eval.own_tasks import StoredLM
from gldbench.grade.sentences import LONGEST_OUTPUT, TOO_LONG, ifeval_checkers, without_chance
from gldbench.schema import Item, Response, Status, Task

INVALID = "[invalid]"
"""what lm-eval's regex filter gives where nothing matches"""
_OWN_DATA = (
    *("dataset_path", "dataset_name", "dataset_kwargs", "training_split", "validation_split", "fewshot_split"),
    *("fewshot_config", "should_decontaminate", "doc_to_decontamination_query", "gen_prefix", "tag"),
)
"""keys of lm-eval's task that are about its data and prompt"""

Failures = dict[str, tuple[Status, str]]
"""item id -> status and reason of an output that lm-eval's own code cannot grade"""


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """A grade per item, filter and metric of lm-eval's task, under lm-eval's names; at least one item."""
    by_id = {response.item_id: response for response in responses}
    failures: Failures = {}
    outputs = {item_id: response.output for item_id, response in by_id.items()}
    options = {item.item_id: _options(item, outputs, failures) for item in items if task.kind == "loglikelihood"}
    for item_id, output in outputs.items():
        if task.kind == "generation" and len(output) > LONGEST_OUTPUT:
            outputs[item_id], failures[item_id] = "", ("error", TOO_LONG)
    if task.harness == "ifeval":
        ifeval_checkers()  # before lm-eval's task file imports them, which would download the sentence model
    with quiet(), without_chance(), _templates_compiled_once():
        own = _own_task(task, upstream_of(task), items, failures)
        results: Any = evaluate(
            lm=StoredLM(outputs, options),
            task_dict={"tasks": {task.name: own}, "groups": {}, "group_map": {}},
            bootstrap_iters=0,
            log_samples=True,
        )
    return [grade for sample in results["samples"][task.name] for grade in _grades(sample, by_id, failures)]


def _options(item: Item, outputs: Mapping[str, str], failures: Failures) -> list[float]:
    """The log-likelihoods of an item's options; of an output that holds none, such that the gold one loses."""
    values = likelihoods(outputs[item.item_id], len(item.choices))
    if values is None:
        failures[item.item_id] = "no_answer", "no log-likelihoods in the output"
        return [-math.inf if letter == item.target else 0.0 for letter, _ in zip(LETTERS, item.choices, strict=False)]
    return values


@contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """lm-eval compiles a task's Jinja template again for every document: 7 of 8 seconds of GSM8K's 1319 items."""
    environment: Any = lm_eval.utils.env
    environment.from_string = lru_cache(maxsize=64)(environment.from_string)
    try:
        yield
    finally:
        del environment.from_string  # what hid the class's method


def _own_task(task: Task, found: UpstreamTask, items: Sequence[Item], failures: Failures) -> ConfigurableTask:
    """lm-eval's task over our items; what its `process_results` raises goes to `failures`, and the item scores 0."""
    config: dict[str, Any] = load_yaml(Path(lm_eval.__file__).parent / "tasks" / found.config)
    docs = datasets.Dataset.from_list([{"item_id": item.item_id, **found.doc(item)} for item in items])
    prepare = config.pop("process_docs", None)
    if prepare is not None and task.harness != "drop":  # our file has no typed answers: `doc` gives the result
        docs = prepare(docs)
    metrics = [{**metric, "aggregation": _no_mean} for metric in config["metric_list"]]
    process = config.get("process_results")
    if process is not None:
        config["process_results"] = _guarded(process, [metric["metric"] for metric in metrics], failures)
    config |= {
        "task": task.name,
        "custom_dataset": lambda **_: {"test": docs},
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": lambda doc: "the prompt of the stored output",
        "metric_list": metrics,
    }
    return ConfigurableTask(config={key: value for key, value in config.items() if key not in _OWN_DATA})


def _no_mean(values: Sequence[Any]) -> float:
    """lm-eval wants an aggregation; we take its samples, and a sample that failed has no list to aggregate."""
    return float("nan")


def _guarded(process: Callable[..., dict[str, Any]], metrics: Sequence[str], failures: Failures) -> Callable[..., Any]:
    def run(doc: Mapping[str, Any], results: list[Any]) -> dict[str, Any]:
        try:
            return process(doc, results)
        except Exception as error:  # code that is not ours on a text that may be anything: the row names it
            failures[doc["item_id"]] = "error", f"lm-eval raised {type(error).__name__}: {str(error)[:120]}"
            return dict.fromkeys(metrics, 0.0)

    return run


def _grades(sample: Mapping[str, Any], by_id: Mapping[str, Response], failures: Failures) -> list[Grade]:
    """One of lm-eval's samples as grades; status and reason are ours."""
    item_id, answer = sample["doc"]["item_id"], sample["filtered_resps"][0]
    answered = not isinstance(answer, str) or answer.strip() not in ("", INVALID)
    status, reason = status_of(by_id[item_id], answered)
    status, reason = failures.get(item_id, (status, reason))
    grades = []
    for metric in sample["metrics"]:
        value = sample[metric]
        parts = {str(part): each for part, each in enumerate(value)} if isinstance(value, list) else {"": value}
        grades += [
            Grade(item_id, sample["filter"], metric, float(each), status, reason, part) for part, each in parts.items()
        ]
    return grades
