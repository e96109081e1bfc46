"""The grader "lm_eval" of tasks that lm-eval does not have: stored responses through its machinery with our filters.

An `LM` that returns stored outputs, and a `ConfigurableTask` built in memory: requests, filters, metric and samples are
lm-eval's. `lm_eval.evaluate` is called directly: `simple_evaluate` scans the task library (4 s) and reseeds every
generator of random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate

from gldbench.generate.quiet import quiet
from gldbench.grade.grader import Grade, status_of
from gldbench.grade.judges.normal_forms import SCORERS
from gldbench.grade.ours import METRIC, extract
from gldbench.grade.programs.functions import Verdict, run_answers
from gldbench.schema import Item, Response, Task

NO_ANSWER = "[no answer]"
"""what lm-eval's regex filter gives where nothing matches"""


class StoredLM(LM):
    """Answers lm-eval's requests with stored outputs."""

    def __init__(
        self, outputs: Mapping[str, str], likelihoods: Mapping[str, Sequence[float]] = MappingProxyType({})
    ) -> None:
        """`outputs`: item id -> output. `likelihoods`: item id -> log-likelihood of each option."""
        super().__init__()
        self._outputs, self._likelihoods = outputs, likelihoods

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The stored output of each request's item."""
        return [self._outputs[request.doc["item_id"]] for request in requests]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The stored value of each request's option; whether it was the greedy one is not asked by any task here."""
        return [(self._likelihoods[request.doc["item_id"]][request.idx], False) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Not available: a stored response is a text, or the log-likelihoods of options."""
        raise NotImplementedError("stored responses have no rolling log-likelihoods")


def grade(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> list[Grade]:
    """A grade per filter and item, from lm-eval's samples; at least one item."""
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


def _harness_task(task: Task, items: Sequence[Item], verdicts: Mapping[tuple[str, str], Verdict]) -> ConfigurableTask:
    """Our task as lm-eval's: same items, one regex filter per pattern, `exact_match` with the scorer's expressions."""
    scorer, prompts = SCORERS[task.scorer], {item.item_id: item.prompt for item in items}
    docs = datasets.Dataset.from_list([{"item_id": item.item_id, "target": item.target} for item in items])

    def verdict(doc: dict[str, str], answers: list[str]) -> dict[str, float]:
        return {METRIC: verdicts[doc["item_id"], answers[0]][0] if answers[0] else 0.0}

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
                "metric": METRIC,
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "regexes_to_ignore": list(scorer.ignore),
            }
        ],
        "filter_list": [{"name": name, "filter": _filter(pattern)} for name, pattern in task.patterns.items()],
        "process_results": verdict if scorer.code else None,
        "metadata": {"version": task.version},
    }
    return ConfigurableTask(config=config)


def _filter(pattern: str) -> list[dict[str, Any]]:
    """The last match of `pattern`."""
    last_match = {"function": "regex", "regex_pattern": pattern, "group_select": -1, "fallback": NO_ANSWER}
    return [last_match, {"function": "take_first"}]


def _verdicts(task: Task, items: Sequence[Item], responses: Sequence[Response]) -> dict[tuple[str, str], Verdict]:
    """(item id, program) -> verdict, for every program that the filters will find; empty for other answers."""
    verdicts: dict[tuple[str, str], Verdict] = {}
    for pattern in task.patterns.values() if SCORERS[task.scorer].code else ():
        answers = {
            item.item_id: extract(pattern, response.output) for item, response in zip(items, responses, strict=True)
        }
        programs = {item_id: answer for item_id, answer in answers.items() if answer is not None}
        run = run_answers({item.item_id: item for item in items}, programs)
        verdicts |= {(item_id, programs[item_id]): verdict for item_id, verdict in run.items()}
        verdicts |= {
            (item_id, NO_ANSWER): (0.0, "no_answer", "") for item_id, answer in answers.items() if answer is None
        }
    return verdicts


def _grade(sample: Mapping[str, Any], response: Response, verdicts: Mapping[tuple[str, str], Verdict]) -> Grade:
    """lm-eval's sample as a grade; status and reason are ours."""
    answer = sample["filtered_resps"][0]
    answered = answer not in (NO_ANSWER, "")
    status, reason = status_of(response, answered)
    if answered and (response.item_id, answer) in verdicts:
        _, status, reason = verdicts[response.item_id, answer]
    return Grade(response.item_id, sample["filter"], METRIC, float(sample[METRIC]), status, reason)
