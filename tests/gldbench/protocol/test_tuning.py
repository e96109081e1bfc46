"""Tuning: which trials are made, in which order, and what is chosen. No model is trained here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gldbench.protocol.arms import Choice
from gldbench.protocol.tuned import Trial, Tuning, read_tuning, write_tuning
from gldbench.protocol.tuning import levels, tune, tuning_key
from gldbench.run import settled
from gldbench.spec import MethodSpec, Spec
from gldfusion.errors import InputError
from tests.gldbench.protocol.test_arms import compared


class Executor:
    """Stands in for training: gives each method the score that a function says, and remembers what was asked."""

    def __init__(self, score: Callable[[MethodSpec], float]) -> None:
        self.score, self.asked = score, list[list[str]]()
        self.specs: list[Spec] = []

    def __call__(self, spec: Spec) -> dict[str, Sequence[float]]:
        self.asked.append([name.rpartition("-")[0] for name in spec.methods])
        self.specs.append(spec)
        return {name: (self.score(method), self.score(method) + 0.02) for name, method in spec.methods.items()}


def weight(method: MethodSpec, loss: str) -> float:
    return next((term.weight for term in method.terms if term.loss == loss), 0.0)


def score(method: MethodSpec) -> float:
    """Best at learning rate .002, uld .01 and gld 1."""
    found = 0.5 + 0.1 * (method.learning_rate == 2e-3) + 0.1 * (weight(method, "uld") == 0.01)
    return found + 0.05 * weight(method, "gld") - 0.1 * (weight(method, "kl") > 0)


def test_methods_are_tuned_one_level_after_the_other_and_equal_trials_are_made_once(tmp_path: Path) -> None:
    executor = Executor(score)
    tuning = tune(compared(tmp_path), executor)
    assert executor.asked == [
        ["sft@lr0.001", "sft@lr0.002"],
        ["sft+uld@0.01", "sft+uld@1", "sft+kl@0.01", "sft+kl@1"],  # weight 0 is sft, which is there
        ["sft+uld+gld@0.01", "sft+uld+gld@1"],  # weight 0 is sft+uld
    ]
    assert tuning.learning_rate == 2e-3
    assert tuning.choices == {"sft+uld": Choice(0.01), "sft+uld+gld": Choice(1.0), "sft+kl": Choice(0.0)}
    zero = next(trial for trial in tuning.trials if trial.method == "sft+uld+gld" and trial.weight == 0)
    assert zero.scores == next(t for t in tuning.trials if t.method == "sft+uld" and t.chosen).scores
    assert {trial.method: trial.weight for trial in tuning.trials if trial.chosen} == {
        "sft": None,
        "sft+uld": 0.01,
        "sft+uld+gld": 1.0,
        "sft+kl": 0.0,
    }


def test_trials_use_the_validation_set_with_worlds_and_seeds_of_their_own(tmp_path: Path) -> None:
    executor = Executor(score)
    tune(compared(tmp_path), executor)
    for spec in executor.specs:
        assert (spec.worlds, spec.fusion.seeds, spec.evaluation.sets) == ((0,), (100, 101), ("validation",))
        assert all(method.learning_rate for method in spec.methods.values())
    last = executor.specs[-1].methods
    assert all(weight(method, "uld") == 0.01 for method in last.values()), "the other arm's tuned weight is kept"


def test_equal_scores_choose_the_smallest_weight_and_rate(tmp_path: Path) -> None:
    tuning = tune(compared(tmp_path), Executor(lambda method: 0.3))
    assert tuning.learning_rate == 1e-3
    assert all(choice.weight == 0 for choice in tuning.choices.values())


def test_a_method_that_is_not_tuned_keeps_the_weight_of_the_spec(tmp_path: Path) -> None:
    spec = compared(tmp_path, lambda content: content["methods"]["sft+kl"].update(tuned=False))
    executor = Executor(score)
    tuning = tune(spec, executor)
    assert not any(name.startswith("sft+kl") for asked in executor.asked for name in asked)
    assert weight(settled(spec, tuning).methods["sft+kl"], "kl") == spec.methods["sft+kl"].terms[0].weight


def test_other_options_are_chosen_at_the_chosen_weight(tmp_path: Path) -> None:
    def with_choices(content: dict[str, Any]) -> None:
        content["methods"]["sft+uld+gld"]["choices"] = {"window": [1, 4, 16]}

    def best_at_four(method: MethodSpec) -> float:
        windows = [term.options.get("window") for term in method.terms]
        return score(method) + 0.3 * (4 in windows)

    executor = Executor(best_at_four)
    tuning = tune(compared(tmp_path, with_choices), executor)
    assert executor.asked[-2:] == [["sft+uld+gld@0.01", "sft+uld+gld@1"], ["sft+uld+gld@1"] * 2]
    assert tuning.choices["sft+uld+gld"] == Choice(1.0, {"window": 4})
    chosen = [trial for trial in tuning.trials if trial.method == "sft+uld+gld" and trial.chosen]
    assert [(trial.weight, trial.options) for trial in chosen] == [(1.0, {"window": 4})]
    assert len([t for t in tuning.trials if t.method == "sft+uld+gld"]) == 3 + 2


def test_the_comparison_uses_what_was_chosen(tmp_path: Path) -> None:
    spec = compared(tmp_path)
    final = settled(spec, tune(spec, Executor(score)))
    assert final.fusion.train.learning_rate == 2e-3
    assert [(term.loss, term.weight) for term in final.methods["sft+uld+gld"].terms] == [("uld", 0.01), ("gld", 1.0)]
    assert final.methods["sft+kl"].terms == final.methods["shuffled"].terms == ()


def test_levels_follow_who_adds_to_whom(tmp_path: Path) -> None:
    assert list(levels(compared(tmp_path))) == [["sft", "sft+uld", "sft+kl"], ["sft+uld+gld", "shuffled"], ["constant"]]


def test_specs_share_trials_if_all_but_their_methods_is_equal(tmp_path: Path) -> None:
    spec = compared(tmp_path)
    assert tuning_key(spec) == tuning_key(compared(tmp_path, lambda c: c.update(worlds=[7], name="other", title="x")))
    assert tuning_key(spec) == tuning_key(compared(tmp_path, lambda c: c["methods"].pop("constant")))
    assert tuning_key(spec) != tuning_key(compared(tmp_path, lambda c: c["tuning"].update(seeds=[7])))
    assert tuning_key(spec) != tuning_key(compared(tmp_path, lambda c: c["fusion"]["train"].update(steps=7)))


def test_a_damaged_tuning_is_refused(tmp_path: Path) -> None:
    assert read_tuning(tmp_path) is None
    made = Tuning(2e-3, {"a": Choice(0.1, {"window": 4})}, (Trial("a", 0.1, 2e-3, {"window": 4}, (0.3, 0.5), True),))
    write_tuning(tmp_path, made)
    assert read_tuning(tmp_path) == made
    path = tmp_path / "tuning.json"
    path.write_text(path.read_text().replace("0.3", "0.9"))
    with pytest.raises(InputError, match=r"tuning.json is damaged.*\n.*made again from the stored trials"):
        read_tuning(tmp_path)
