"""lm-eval's own tasks that can grade ours: where each is defined, and our items as its documents.

This module does not import lm-eval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gldbench.schema import Item, Task
from gldfusion.errors import InputError, did_you_mean

Doc = dict[str, Any]


@dataclass(frozen=True)
class UpstreamTask:
    """What is needed of a task of lm-eval to grade with it."""

    config: str
    """its YAML file below lm_eval/tasks. Where each subject has a file of its own: the file that all of them include"""
    doc: Callable[[Item], Doc]
    """our item -> the fields that filters and metrics read from a row of lm-eval's dataset"""
    filter: str
    """filter of the headline; lm-eval has one row per filter and does not say which one to quote"""
    metric: str
    """metric of the headline"""


def _number(item: Item) -> Doc:
    return {"answer": f"#### {item.target}"}


def _target(item: Item) -> Doc:
    return {"target": item.target}


def _solution(item: Item) -> Doc:
    return {name: item.record[name] for name in ("problem", "solution")}


def _mmlu(item: Item) -> Doc:
    return {"choices": list(item.choices), "answer": "ABCD".index(item.target)}


def _arc(item: Item) -> Doc:
    options = item.record["question"]["choices"]
    choices = {key: [option[key] for option in options] for key in ("text", "label")}
    return {"question": item.record["question"]["stem"], "choices": choices, "answerKey": item.record["answerKey"]}


def _drop(item: Item) -> Doc:
    """Each gold answer as a list of spans, as `process_docs` of lm-eval's task makes it from typed answers.

    Our file joins the spans of an answer with " and ". A span that contains " and " therefore becomes two spans here.
    """
    return {"answer": item.target, "answers": [gold.split(" and ") for gold in item.golds]}


def _hellaswag(item: Item) -> Doc:
    fields = ("activity_label", "ctx_a", "ctx_b", "endings", "label")
    return {name: item.record[name] for name in fields}


def _ifeval(item: Item) -> Doc:
    return {name: item.record[name] for name in ("key", "prompt", "instruction_id_list", "kwargs")}


UPSTREAM: dict[str, UpstreamTask] = {
    "gsm8k": UpstreamTask("gsm8k/gsm8k.yaml", _number, "flexible-extract", "exact_match"),
    "gsm8k_cot": UpstreamTask("gsm8k/gsm8k-cot.yaml", _number, "flexible-extract", "exact_match"),
    "bbh_cot_fewshot": UpstreamTask("bbh/cot_fewshot/_cot_fewshot_template_yaml", _target, "get-answer", "exact_match"),
    "minerva_math": UpstreamTask("minerva_math/minerva_math_algebra.yaml", _solution, "none", "math_verify"),
    "hendrycks_math500": UpstreamTask("hendrycks_math/hendrycks_math500.yaml", _solution, "none", "exact_match"),
    "mmlu_generative": UpstreamTask("mmlu/generative/_default_template_yaml", _mmlu, "get_response", "exact_match"),
    "arc_challenge_chat": UpstreamTask("arc/arc_challenge_chat.yaml", _arc, "remove_whitespace", "exact_match"),
    "drop": UpstreamTask("drop/default.yaml", _drop, "none", "f1"),
    "ifeval": UpstreamTask("ifeval/ifeval.yaml", _ifeval, "none", "prompt_level_strict_acc"),
    "mmlu": UpstreamTask("mmlu/default/_default_template_yaml", _mmlu, "none", "acc"),
    "arc_challenge": UpstreamTask("arc/arc_challenge.yaml", _arc, "none", "acc"),
    "hellaswag": UpstreamTask("hellaswag/hellaswag.yaml", _hellaswag, "none", "acc_norm"),
}
"""name in lm-eval -> what is needed of it"""


def upstream_of(task: Task) -> UpstreamTask:
    """The task of lm-eval that `task.harness` names.

    Raises:
        InputError: it is not in `UPSTREAM`.
    """
    if task.harness not in UPSTREAM:
        raise InputError(
            f'task {task.name}: the key harness names "{task.harness}", which is no task of lm-eval that is known here'
            f"{did_you_mean(task.harness, UPSTREAM)}\nknown: {', '.join(UPSTREAM)}"
        )
    return UPSTREAM[task.harness]
