"""The protocol of a comparison: what a spec may say, and how methods are made from each other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gldbench.protocol.arms import Choice, compared_pairs, require_declared, resolved_methods
from gldbench.spec import Spec, load_spec, read_spec, seeds_of, subjects_of, worlds_of
from gldfusion.errors import InputError

MINI = Path(__file__).parents[1] / "mini.yaml"
KL = {"loss": "kl", "weight": 1.0}
METHODS: dict[str, Any] = {
    "sft": {},
    "sft+uld": {"terms": [{"loss": "uld", "weight": 1.0}]},
    "sft+uld+gld": {"adds_to": "sft+uld", "terms": [{"loss": "gld", "weight": 1.0, "options": {"nodes": "rank"}}]},
    "constant": {"like": "sft+uld+gld", "term_options": {"gld": {"edges": "constant"}}, "exploratory": True},
    "sft+kl": {"sources": ["control"], "terms": [KL], "differs_in": ["sources"]},
    "shuffled": {"like": "sft+kl", "control": "shuffled", "differs_in": ["control"]},
}
COMPARISON: dict[str, Any] = {
    "worlds": [3, 4],
    "methods": METHODS,
    "tuning": {"worlds": [0], "seeds": [100, 101], "weights": [0, 0.01, 1], "learning_rates": [1e-3, 2e-3]},
    "primary": [["sft+uld", "sft"], ["sft+uld+gld", "sft+uld"]],
    "gates": {"same_vocabulary": "sft+kl", "shuffled": "shuffled"},
}


def compared(tmp_path: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Spec:
    """The spec "mini" as a comparison, after `change`."""
    content = yaml.safe_load(MINI.read_text()) | copy.deepcopy(COMPARISON)
    change(content)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_spec(path)


def test_a_comparison_has_one_world_for_each_seed_of_worlds(tmp_path: Path) -> None:
    spec = compared(tmp_path)
    assert {seed: world.seed for seed, world in worlds_of(spec).items()} == {3: 3, 4: 4}
    names = [subject.name for subject in subjects_of(spec)]
    assert names[:2] == ["pivot-world3", "source-a-world3"]
    assert "sft-seed1-world4" in names
    assert len(names) == len(set(names)) == 2 * (4 + 6 * 2)


def test_a_spec_without_worlds_keeps_the_names_of_its_checkpoints() -> None:
    names = [subject.name for subject in subjects_of(load_spec(str(MINI)))]
    assert names[:5] == ["pivot", "source-a", "source-b", "control", "sft-seed0"]


@pytest.mark.parametrize(("per", "expected"), [("world", {3: (0, 1, 2), 4: (0, 1, 2)}), ("all", {3: (0, 2), 4: (1,)})])
def test_seeds_count_for_each_world_or_in_all(tmp_path: Path, per: str, expected: dict[int, tuple[int, ...]]) -> None:
    spec = compared(tmp_path, lambda content: content["fusion"].update(seeds=[0, 1, 2], seeds_per=per))
    assert seeds_of(spec) == expected


def weights(spec: Spec, choices: dict[str, Choice], name: str) -> dict[str, float]:
    return {term.loss: term.weight for term in resolved_methods(spec, choices)[name].terms}


def test_an_arm_that_adds_a_term_keeps_the_tuned_weight_of_the_other_arm(tmp_path: Path) -> None:
    spec = compared(tmp_path)
    choices = {"sft+uld": Choice(0.5), "sft+uld+gld": Choice(0.01, {"nodes": "vocab"}), "sft+kl": Choice(2.0)}
    assert weights(spec, choices, "sft+uld+gld") == {"uld": 0.5, "gld": 0.01}
    assert weights(spec, choices, "constant") == {"uld": 0.5, "gld": 0.01}
    methods = resolved_methods(spec, choices)
    assert [term.options for term in methods["sft+uld+gld"].terms] == [{}, {"nodes": "vocab"}]
    assert methods["constant"].terms[1].options == {"nodes": "vocab", "edges": "constant"}
    assert (methods["shuffled"].control, methods["shuffled"].sources) == ("shuffled", ("control",))
    assert weights(spec, choices, "shuffled") == {"kl": 2.0}


def test_a_term_whose_chosen_weight_is_zero_is_left_out(tmp_path: Path) -> None:
    spec = compared(tmp_path)
    assert weights(spec, {"sft+uld": Choice(0.5), "sft+uld+gld": Choice(0.0)}, "sft+uld+gld") == {"uld": 0.5}


def test_the_factor_times_changes_the_own_weights_of_another_method(tmp_path: Path) -> None:
    def halved(content: dict[str, Any]) -> None:
        content["methods"]["half"] = {"like": "sft+uld+gld", "times": 0.5, "exploratory": True}

    spec = compared(tmp_path, halved)
    assert weights(spec, {"sft+uld": Choice(0.5), "sft+uld+gld": Choice(0.1)}, "half") == {"uld": 0.5, "gld": 0.05}


def test_each_method_is_compared_with_the_one_that_it_adds_to(tmp_path: Path) -> None:
    def also_primary(content: dict[str, Any]) -> None:
        content["primary"] += [["sft+uld", "sft+kl"]]

    assert compared_pairs(compared(tmp_path, also_primary)) == [
        ("sft+uld", "sft"),
        ("sft+uld+gld", "sft+uld"),
        ("constant", "sft+uld+gld"),
        ("sft+kl", "sft"),
        ("shuffled", "sft+kl"),
        ("sft+uld", "sft+kl"),
    ]


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("sft+uld", {"learning_rate": 0.01}, "sft+uld has learning_rate 0.01, sft has learning_rate None"),
        ("sft+uld+gld", {"k": 3}, "sft+uld+gld has k 3, sft+uld has k None"),
        ("sft+uld+gld", {"sources": ["source-a"]}, r"sft+uld+gld has sources \['source-a'\]"),
        ("sft+uld", {"sample_seed": 5}, "sft+uld has sample_seed 5"),
        ("shuffled", {"differs_in": []}, "shuffled has control 'shuffled', sft+kl has control 'none'"),
    ],
)
def test_methods_that_differ_in_something_undeclared_are_refused(
    tmp_path: Path, method: str, changes: dict[str, Any], message: str
) -> None:
    spec = compared(tmp_path, lambda content: content["methods"][method].update(changes))
    with pytest.raises(InputError, match=message.replace("+", r"\+")) as error:
        require_declared(spec, resolved_methods(spec, {}))
    assert "add the key to `differs_in`" in str(error.value)
    declared = {**changes, "differs_in": ["control", *changes]}
    spec = compared(tmp_path, lambda content: content["methods"][method].update(declared))
    require_declared(spec, resolved_methods(spec, {}))


def test_the_methods_of_a_primary_comparison_may_not_differ_in_something_undeclared(tmp_path: Path) -> None:
    spec = compared(tmp_path, lambda content: content["primary"].append(["sft+uld", "sft+kl"]))
    with pytest.raises(InputError, match=r"sft\+uld has sources .*, sft\+kl has sources"):
        require_declared(spec, resolved_methods(spec, {}))


def _nine(content: dict[str, Any]) -> None:
    content["methods"] |= {f"arm-{n}": {"terms": [KL], "sources": ["control"]} for n in range(4)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["tuning"].update(weights=[0.1, 1]), "tuning.weights: expected 0 and other weights"),
        (lambda c: c["tuning"].update(worlds=[3]), "tuning.worlds has 3, which the comparison uses too"),
        (lambda c: c["tuning"].update(seeds=[1]), "tuning.seeds has 1, which the comparison uses too"),
        (lambda c: c["tuning"].update(learning_rates=[0.0]), "expected rates above 0"),
        (lambda c: c.update(worlds=[3, 3]), "worlds: expected different numbers"),
        (lambda c: c["fusion"].update(seeds=[0], seeds_per="all"), "1 fusion.seeds cannot be dealt out to 2 worlds"),
        (lambda c: c.update(primary=[["sft+udl", "sft"]]), r'primary names "sft\+udl" \(did you mean "sft\+uld"'),
        (lambda c: c.update(primary=[["constant", "sft"]]), "constant, which is exploratory"),
        (lambda c: c.update(primary=[["sft+uld", "sft"]] * 2), "twice, or a method with itself"),
        (lambda c: c.update(primary=[["sft+uld", "sft"]] * 7), "primary has 7 comparisons, at most 6"),
        (_nine, "has 9 methods that are not exploratory, at most 8"),
        (lambda c: c["methods"]["sft+uld"].update({"lambda": 0.5}), r"sft\+uld.lambda is 0.5.*weight of SFT is 1"),
        (lambda c: c["methods"]["sft+uld"].update(adds_to="sft+uld+gld"), "takes terms from sft"),
        (lambda c: c["methods"]["constant"].update(like="sft+gdl"), r'constant.like names "sft\+gdl"'),
        (lambda c: c["methods"]["constant"].update(terms=[KL]), "has both like and terms"),
        (lambda c: c["methods"]["sft+uld+gld"].update(terms=[]), "has adds_to but no terms"),
        (lambda c: c["methods"]["sft+uld+gld"].update(like="sft"), "has both like and adds_to"),
        (lambda c: c["methods"]["sft+uld"].update(times=2.0), "name it with like"),
        (lambda c: c["methods"]["sft+uld"].update(k=7), "k is 7, but the world stores 6 logits"),
        (lambda c: c["methods"]["constant"].update(choices={"nodes": ["rank"]}), "choices are made for a method's own"),
        (lambda c: c.update(weights_from="compare"), "has both tuning and weights_from"),
        (lambda c: c.update(weights_from="../compare", tuning=None), "expected the name of a run beside this one"),
        (lambda c: c["methods"].pop("sft"), "tuning needs a method sft"),
    ],
)
def test_what_the_protocol_forbids_is_refused_in_words(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        compared(tmp_path, change)
    assert len(str(error.value).splitlines()) <= 3


def test_a_spec_changes_single_values_of_the_one_that_it_extends(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"extends: {MINI}\nname: own\nreplace: {{world.wrong_labels: 0.0, fusion.seeds: [5]}}")
    spec, base = read_spec(path), load_spec(str(MINI))
    assert (spec.name, spec.world.wrong_labels, spec.fusion.seeds) == ("own", 0.0, (5,))
    assert spec.world.sources == base.world.sources
    path.write_text(f"extends: {MINI}\nreplace: {{wrold.wrong_labels: 0.0}}")
    with pytest.raises(InputError, match=r'replace: wrold.wrong_labels: .* has no key "wrold" there'):
        read_spec(path)
    path.write_text(f"extends: {MINI}\nreplace: {{world.wrong_label: 0.0}}")
    with pytest.raises(InputError, match=r'unknown key "world.wrong_label".*did you mean "wrong_labels"'):
        read_spec(path)
