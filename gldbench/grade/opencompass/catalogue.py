"""Which configuration of OpenCompass grades which benchmark, and our items as the rows that the configuration expects.

A row holds what the evaluators read, as OpenCompass's own readers of data would make it. The configurations are those
of OpenCompass 0.5.4, below its folder configs/datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gldbench.schema import Item

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Configuration:
    """How OpenCompass grades a benchmark."""

    path: str
    """file below configs/datasets, without .py"""
    row: Callable[[Item], Row]
    """makes the row of an item; raises `LookupError` with a reason where OpenCompass leaves the item out"""
    metrics: Mapping[str, str] = field(default_factory=lambda: {"score": ""})
    """name of a score in the evaluator's result -> key of the value in its details; "": correct or is_correct"""
    data_set: Callable[[Item], str] = lambda item: ""
    """the name of the item's data set in the configuration, if that has several"""
    gold: str = ""
    """function of OpenCompass's reader that makes the gold from the field of the row, "module.function" """
    runs_answers: bool = False
    """whether it runs what models wrote: each item then has a process of its own"""
    instructions: bool = False
    """whether it also scores the single instructions of IFEval"""

    @property
    def name(self) -> str:
        """The name by which OpenCompass's users know the configuration; it ends with the hash of the prompt."""
        return self.path.rpartition("/")[2]


def _math(item: Item) -> Row:
    return {"solution": item.record.get("solution", f"\\boxed{{{item.target}}}")}


def _four_options(item: Item) -> Row:
    if len(item.choices) != 4:
        raise LookupError(
            f"OpenCompass leaves out questions that do not have four options; this one has {len(item.choices)}"
        )
    return {"answerKey": item.target}


def _program(item: Item) -> Row:
    return {**{key: item.record[key] for key in ("prompt", "test", "entry_point")}, "task_id": item.item_id}


def _asserts(item: Item) -> Row:
    """MBPP has a list of asserts, and MBPP+ a text with the asserts of its base tests."""
    return {"test_list_2": "\n".join(item.record.get("test_list") or [item.record["assertion"]])}


def _theorem(item: Item) -> Row:
    return {"Answer": item.target, "Answer_type": item.record["Answer_type"]}


_ACCURACY = {"accuracy": ""}
_HUMANEVAL = Configuration(
    "humaneval/humaneval_gen_8e312c", _program, {"humaneval_pass@1": "is_correct"}, runs_answers=True
)
_MBPP = Configuration("mbpp/mbpp_gen_830460", _asserts, runs_answers=True)
_IFEVAL = {"Prompt-level-strict-accuracy": "is_strict_correct", "Prompt-level-loose-accuracy": "is_loose_correct"}

CONFIGURATIONS: dict[str, Configuration] = {
    "bbh": Configuration(
        "bbh/bbh_gen_ee62e9", lambda item: {"target": item.target}, data_set=lambda item: item.subtask
    ),
    "gsm8k": Configuration(
        "gsm8k/gsm8k_0shot_v2_gen_a58960", lambda item: {"answer": f"#### {item.target}"}, _ACCURACY
    ),
    "math": Configuration(
        "math/math_0shot_gen_393424", _math, _ACCURACY, gold="opencompass.datasets.math.extract_boxed_answer"
    ),
    "math500": Configuration("math/math_500_gen", _math, _ACCURACY),
    "humaneval": _HUMANEVAL,
    "humaneval_plus": _HUMANEVAL,
    "mbpp": _MBPP,
    "mbpp_plus": _MBPP,
    "arc_c": Configuration("ARC_c/ARC_c_gen_1e0de5", _four_options, _ACCURACY),
    "mmlu": Configuration(
        "mmlu/mmlu_zero_shot_gen_47e2c0",
        lambda item: {"target": item.target},
        _ACCURACY,
        data_set=lambda item: "anatomy",  # its 57 data sets differ in their prompts only
    ),
    "theoremqa": Configuration("TheoremQA/TheoremQA_5shot_gen_6f0af8", _theorem, runs_answers=True),
    "drop": Configuration(
        "drop/drop_openai_simple_evals_gen_3857b0", lambda item: {"answers": item.record["ref_text"]}, _ACCURACY
    ),
    "hellaswag": Configuration("hellaswag/hellaswag_gen_6faab5", lambda item: {"label": item.target}, _ACCURACY),
    "ifeval": Configuration(
        "IFEval/IFEval_gen_3321a3", lambda item: {"reference": dict(item.record)}, _IFEVAL, instructions=True
    ),
}
"""our name of a benchmark -> configuration"""
