"""The grader "lm_eval" for benchmarks that are tasks of lm-eval: that task's own filters and metrics on stored outputs.

The installed version of lm-eval defines the filters and metrics. Its prompts and stop strings are not used: the outputs
were generated with ours, and an output that one of its stop strings would have cut off is graded whole. A low score may
therefore mean that the filter looks for the answer format of another prompt. The rows say what lm-eval computes from
these outputs, including its bugs.
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
from lm_eval.tasks._yaml_loader import load_yaml  # its only reader of task files that loads no data

from gldbench.generate.quiet import quiet
from gldbench.grade.grader import Grade, status_of
from gldbench.grade.judges.loglikelihood import LETTERS, likelihoods
from gldbench.grade.lm_eval.catalogue import UpstreamTask, upstream_of
from gldbench.grade.lm_eval.own_tasks import StoredLM
from gldbench.grade.sentences import LONGEST_OUTPUT, TOO_LONG, ifeval_checkers, without_chance
from gldbench.schema import Item, Response, Status, Task

INVALID = "[invalid]"
"""what the regex filter of lm-eval's tasks returns where nothing matches"""
_OWN_DATA = (
    *("dataset_path", "dataset_name", "dataset_kwargs", "training_split", "validation_split", "fewshot_split"),
    *("fewshot_config", "should_decontaminate", "doc_to_decontamination_query", "gen_prefix", "tag"),
)
"""keys of lm-eval's task that describe its data and prompt, which are replaced by ours"""

Failures = dict[str, tuple[Status, str]]
"""item id -> status and reason of an output that lm-eval's own code cannot grade"""


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """One grade per item, filter and metric of lm-eval's task, under its names. There must be at least one item."""
    by_id = {response.item_id: response for response in responses}
    failures: Failures = {}
    outputs = {item_id: response.output for item_id, response in by_id.items()}
    options = {item.item_id: _options(item, outputs, failures) for item in items if task.kind == "loglikelihood"}
    for item_id, output in outputs.items():
        if task.kind == "generation" and len(output) > LONGEST_OUTPUT:
            outputs[item_id], failures[item_id] = "", ("error", TOO_LONG)
    if task.harness == "ifeval":
        ifeval_checkers()  # imported before lm-eval's task file does it, which would download the sentence model
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
    """The log-likelihoods of an item's options. For an output without any: values with which the gold option loses."""
    values = likelihoods(outputs[item.item_id], len(item.choices))
    if values is None:
        failures[item.item_id] = "no_answer", "no log-likelihoods in the output"
        return [-math.inf if letter == item.target else 0.0 for letter, _ in zip(LETTERS, item.choices, strict=False)]
    return values


@contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """Compiles each Jinja template once. lm-eval compiles it for every document: 7 of 8 s for GSM8K's 1319 items."""
    environment: Any = lm_eval.utils.env
    environment.from_string = lru_cache(maxsize=64)(environment.from_string)
    try:
        yield
    finally:
        del environment.from_string  # the method of the class is visible again


def _own_task(task: Task, found: UpstreamTask, items: Sequence[Item], failures: Failures) -> ConfigurableTask:
    """lm-eval's task over our items. Where its `process_results` raises, `failures` says so, and the value is NaN."""
    config: dict[str, Any] = load_yaml(Path(lm_eval.__file__).parent / "tasks" / found.config)
    docs = datasets.Dataset.from_list([{"item_id": item.item_id, **found.doc(item)} for item in items])
    prepare = config.pop("process_docs", None)
    if prepare is not None and task.harness != "drop":  # our file has no typed answers: `catalogue` gives the result
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
    """Stands for lm-eval's aggregation: we read its samples only, and a sample that failed could not be aggregated."""
    return float("nan")


def _guarded(process: Callable[..., dict[str, Any]], metrics: Sequence[str], failures: Failures) -> Callable[..., Any]:
    def run(doc: Mapping[str, Any], results: list[Any]) -> dict[str, Any]:
        try:
            return process(doc, results)
        except Exception as error:  # foreign code on any text: the row names the error
            failures[doc["item_id"]] = "error", f"lm-eval raised {type(error).__name__}: {str(error)[:120]}"
            return dict.fromkeys(metrics, math.nan)

    return run


def _grades(sample: Mapping[str, Any], by_id: Mapping[str, Response], failures: Failures) -> list[Grade]:
    """One of lm-eval's samples as grades. Status and reason are ours."""
    item_id, answer = sample["doc"]["item_id"], sample["filtered_resps"][0]
    answered = not isinstance(answer, str) or answer.strip() not in ("", INVALID)
    status, reason = status_of(by_id[item_id], answered)
    status, reason = failures.get(item_id, (status, reason))
    grades = []
    for metric in sample["metrics"]:
        value = sample[metric]
        parts = {str(part): each for part, each in enumerate(value)} if isinstance(value, list) else {"": value}
        grades += [
            Grade(
                item_id=item_id,
                filter=sample["filter"],
                metric=metric,
                value=None if math.isnan(each) else float(each),
                status=status,
                reason=reason,
                part=part,
            )
            for part, each in parts.items()
        ]
    return grades
