"""The grader "lm_eval" for tasks that lm-eval does not have: its machinery, with our patterns as filters.

Our task becomes a `ConfigurableTask` in memory, and an `LM` returns the stored outputs. Requests, filters, metric and
samples are lm-eval's. `lm_eval.evaluate` is called directly, because `simple_evaluate` scans the task library (4 s) and
seeds all random number generators anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from gldbench.generate.quiet import quiet
from gldbench.grade.answers import last_match
from gldbench.grade.grader import Grade, status_of
from gldbench.grade.judges import JUDGES
from gldbench.grade.judges.judge import PATTERN_METRIC
from gldbench.grade.programs.functions import FunctionVerdict, run_answers
from gldbench.schema import Item, Response, Task

NO_ANSWER = "[no answer]"
"""what lm-eval's regex filter returns where nothing matches"""

Verdicts = Mapping[tuple[str, str], FunctionVerdict]
"""(item id, program) -> verdict"""


class StoredLM(LM):
    """Answers lm-eval's requests with stored outputs."""

    def __init__(
        self, outputs: Mapping[str, str], likelihoods: Mapping[str, Sequence[float]] = MappingProxyType({})
    ) -> None:
        """Takes outputs by item id, and the log-likelihoods of each item's options by item id."""
        super().__init__()
        self._outputs, self._likelihoods = outputs, likelihoods

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The stored output of each request's item."""
        return [self._outputs[request.doc["item_id"]] for request in requests]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The stored value of each request's option. No task here asks whether it is the greedy one, so False."""
        return [(self._likelihoods[request.doc["item_id"]][request.idx], False) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Not available: a stored response is a text, or the log-likelihoods of options.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("stored responses have no rolling log-likelihoods")


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """One grade per filter and item, from lm-eval's samples. There must be at least one item."""
    by_id = {response.item_id: response for response in responses}
    verdicts = _verdicts(task, items, responses)
    with quiet():
        results: Any = evaluate(
            lm=StoredLM({item_id: response.output for item_id, response in by_id.items()}),
            task_dict={"tasks": {task.name: _harness_task(task, items, verdicts)}, "groups": {}, "group_map": {}},
            bootstrap_iters=0,
            log_samples=True,
        )
    return [_grade(sample, by_id[sample["doc"]["item_id"]], verdicts) for sample in results["samples"][task.name]]


def _harness_task(task: Task, items: Sequence[Item], verdicts: Verdicts) -> ConfigurableTask:
    """Our task as one of lm-eval's: the same items, a regex filter for each pattern, and its metric `exact_match`."""
    form, prompts = JUDGES[task.scorer].form, {item.item_id: item.prompt for item in items}
    docs = datasets.Dataset.from_list([{"item_id": item.item_id, "target": item.target} for item in items])

    def verdict(doc: dict[str, str], answers: list[str]) -> dict[str, float]:
        value = verdicts[doc["item_id"], answers[0]][0] if answers[0] else 0.0
        return {PATTERN_METRIC: math.nan if value is None else value}

    config = {
        "task": task.name,
        "custom_dataset": lambda **_: {"test": docs},
        "test_split": "test",
        "num_fewshot": 0,
        "doc_to_text": lambda doc: prompts[doc["item_id"]],
        "doc_to_target": lambda doc: doc["target"],
        "generation_kwargs": {
            "until": list(task.generation.stop),
            "max_gen_toks": task.generation.max_tokens,
            "do_sample": False,
        },
        "metric_list": [
            {
                "metric": PATTERN_METRIC,
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "regexes_to_ignore": list(form.ignore) if form else [],
            }
        ],
        "filter_list": [{"name": name, "filter": _filter(pattern)} for name, pattern in task.patterns.items()],
        "process_results": None if form else verdict,
        "metadata": {"version": task.version},
    }
    return ConfigurableTask(config=config)


def _filter(pattern: str) -> list[dict[str, Any]]:
    """lm-eval's filter for the last match of the pattern."""
    last_match = {"function": "regex", "regex_pattern": pattern, "group_select": -1, "fallback": NO_ANSWER}
    return [last_match, {"function": "take_first"}]


def _verdicts(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> Verdicts:
    """Verdicts on all programs that the filters will find. Empty where the answers are not programs."""
    verdicts: dict[tuple[str, str], FunctionVerdict] = {}
    for pattern in () if JUDGES[task.scorer].form else task.patterns.values():
        answers = {
            item.item_id: last_match(pattern, response.output) for item, response in zip(items, responses, strict=True)
        }
        programs = {item_id: answer for item_id, answer in answers.items() if answer is not None}
        run = run_answers({item.item_id: item for item in items}, programs)
        verdicts |= {(item_id, programs[item_id]): verdict for item_id, verdict in run.items()}
        verdicts |= {
            (item_id, NO_ANSWER): (0.0, "no_answer", "") for item_id, answer in answers.items() if answer is None
        }
    return verdicts


def _grade(sample: Mapping[str, Any], response: Response, verdicts: Verdicts) -> Grade:
    """lm-eval's sample as a grade. Status and reason are ours."""
    answer = sample["filtered_resps"][0]
    answered = answer not in (NO_ANSWER, "")
    status, reason = status_of(response, answered)
    if answered and (response.item_id, answer) in verdicts:
        _, status, reason = verdicts[response.item_id, answer]
    value = float(sample[PATTERN_METRIC])
    return Grade(
        item_id=response.item_id,
        filter=sample["filter"],
        metric=PATTERN_METRIC,
        value=None if math.isnan(value) else value,
        status=status,
        reason=reason,
    )
