"""Writes results_*.json and samples_*.jsonl through lm-eval's own EvaluationTracker.

A filter of lm-eval becomes GRADER/FILTER, because several graders may have a filter of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gldbench.export.results import TaskResult, whole
from gldbench.items.records import Answer, ItemView, Mark
from gldbench.stats import item_mean
from gldbench.stats.averages import BOOTSTRAP_SEED


def write(results: Sequence[TaskResult], folder: Path) -> None:
    """Writes the files of each checkpoint into a folder of its own.

    Raises:
        RuntimeError: lm-eval did not write a file; it only logs why.
    """
    from lm_eval.loggers import EvaluationTracker  # takes seconds to import

    for subject in dict.fromkeys(result.subject for result in results):
        own = [result for result in results if result.subject == subject]
        tracker = EvaluationTracker(output_path=str(folder))
        tracker.general_config_tracker.log_experiment_args(
            model_source="gldbench",
            model_args={"pretrained": subject},
            system_instruction="",
            chat_template="",
            fewshot_as_multiturn=False,
        )
        samples = {result.name: _samples(result) for result in own}
        tracker.save_results_aggregated(results=_aggregated(own), samples=samples)
        for name, lines in samples.items():
            tracker.save_results_samples(task_name=name, samples=lines)  # type: ignore[arg-type]
        place = folder / str(tracker.general_config_tracker.model_name_sanitized)
        written = len(list(place.glob("*"))) if place.is_dir() else 0
        if written != 1 + len(samples):
            raise RuntimeError(f"lm-eval wrote {written} of {1 + len(samples)} files into {place}")


def _aggregated(results: Sequence[TaskResult]) -> dict[str, Any]:
    """The results of one checkpoint, as `lm_eval.simple_evaluate` returns them."""
    return {
        "results": {result.name: {"alias": result.task, **_metrics(result)} for result in results},
        "group_subtasks": {result.name: [] for result in results},
        "configs": {
            result.name: {"task": result.task, "prompt_variant": result.variant, **result.settings}
            for result in results
        },
        "versions": {result.name: result.version for result in results},
        "n-shot": {result.name: 0 for result in results},  # worked examples are part of the prompt
        "higher_is_better": {
            result.name: {mark.metric: True for _, answer in result.items for mark in whole(answer)}
            for result in results
        },
        "n-samples": {
            result.name: {"original": len(result.items), "effective": len(result.items)} for result in results
        },
        "config": {"model": "gldbench", "model_args": {"pretrained": results[0].subject}},
    }


def _metrics(result: TaskResult) -> dict[str, float]:
    """ "METRIC,GRADER/FILTER" -> mean, and the same with "_stderr", clustered as in our own reports."""
    values: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for view, answer in result.items:
        for mark in whole(answer):
            if mark.value is not None:
                name = mark.metric, f"{mark.grader}/{mark.filter}"
                values.setdefault(name, []).append((mark.value, view.cluster))
    found: dict[str, float] = {}
    for (metric, filter_name), own in values.items():
        mean = item_mean(np.array([v for v, _ in own]), [c for _, c in own], seed=BOOTSTRAP_SEED)
        found[f"{metric},{filter_name}"] = mean.estimate.value
        found[f"{metric}_stderr,{filter_name}"] = math.nan if mean.se is None else mean.se
    return found


def _samples(result: TaskResult) -> list[dict[str, Any]]:
    """One sample for each item and filter, as in `samples` of `lm_eval.simple_evaluate`."""
    samples = []
    for place, (view, answer) in enumerate(result.items):
        filters: dict[str, list[Mark]] = {}
        for mark in whole(answer):
            filters.setdefault(f"{mark.grader}/{mark.filter}", []).append(mark)
        samples += [_sample(place, view, answer, name, marks, result) for name, marks in filters.items()]
    return samples


def _sample(
    place: int, view: ItemView, answer: Answer, filter_name: str, marks: Sequence[Mark], result: TaskResult
) -> dict[str, Any]:
    from lm_eval.utils import hash_string

    doc = {"id": view.item, "prompt": view.prompt, "gold": view.gold}
    settings = {"until": result.settings.get("stop", []), "max_gen_toks": result.settings.get("max_tokens")}
    return {
        "doc_id": place,
        "doc": doc,
        "target": view.gold,
        "arguments": [(view.prompt, settings)],
        "resps": [[answer.output or ""]],
        "filtered_resps": [marks[0].found],
        "filter": filter_name,
        "metrics": [mark.metric for mark in marks],
        "doc_hash": hash_string(repr(sorted(doc.items()))),
        "prompt_hash": hash_string(view.prompt),
        "target_hash": hash_string(view.gold),
        **{mark.metric: mark.value for mark in marks},
    }
