"""A spec is refused before anything is built if a method cannot be made in it; the message names the method."""

from __future__ import annotations

from pathlib import Path

import pytest

from gldbench.methods import METHODS, check_methods, merge
from gldbench.protocol.arms import require_declared, resolved_methods
from gldbench.spec import Spec, load_spec
from gldfusion.errors import InputError

MINI = Path(__file__).parents[1] / "mini.yaml"
SPECIALISTS = """
  specialists:
    specialist-a: {<<: *phi3, set: source, families: [dyck_languages], base: pivot}
    specialist-b: {<<: *phi3, set: source, families: [list_functions], base: pivot}
    specialist-c: {<<: *phi3, set: source}
    specialist-d: {<<: *phi3, set: source, base: specialist-c}
methods:
"""


def spec_with(tmp_path: Path, method: str) -> Spec:
    """The small spec with three specialists, and with one method called "made"."""
    before, _, rest = MINI.read_text().partition("\nmethods:")
    after = rest[rest.index("\nfusion:") :]
    path = tmp_path / "spec.yaml"
    path.write_text(f"{before}{SPECIALISTS}  made: {method}\n{after}")
    return load_spec(str(path))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{kind: trian}", r'methods.made.kind: there is no kind "trian" \(did you mean "train"\?\)'),
        ("{options: {a: 1}}", r'methods.made.options: a method of kind "train" does not read this key'),
        ("{terms: [{loss: kl, weight: 1, options: {x: 1}}]}", r"methods.made.terms.0: "),
        ("{on_policy: {every: 2, max_tokens: 8}}", r"methods.made: on_policy is for distillation terms"),
        (
            "{terms: [{loss: uld, weight: 1}], on_policy: {every: 4, max_tokens: 8}}",
            r"methods.made: fusion.train.save_every is 2, and must be a multiple of on_policy.every \(4\)",
        ),
        ("{kind: soup, on_policy: {every: 2, max_tokens: 8}}", r"methods.made.on_policy: .* does not read"),
        ("{kind: soup, terms: [{loss: kl, weight: 1}]}", r'methods.made.terms: a method of kind "soup" does not read'),
        ("{kind: fisher, learning_rate: 0.1}", r"methods.made.learning_rate: .* does not read"),
        ("{kind: soup, sources: [specialist-a]}", r"methods.made: merging needs at least two models, got specialist-a"),
        ("{kind: fisher, sources: [specialist-a, specialist-c]}", r"specialist-c was not trained from a base"),
        ("{kind: soup, sources: [specialist-a, specialist-d]}", r"different bases: specialist-a has pivot, .*-d has"),
        (
            "{kind: soup, sources: [specialist-a, specialist-b], options: {weights: {specialist-a: 1}}}",
            r"expected a weight for each of specialist-a, ",
        ),
        ("{kind: fisher, options: {examples: 0}}", r"made.options: examples: Input should be greater than 0"),
        ("{kind: merge, options: {}}", r'methods.made.options has no "method": it must be given'),
        ("{kind: merge, options: {method: slerp}}", r"method: Input should be 'linear', 'ties' or 'dare_ties'"),
        ("{kind: merge, options: {method: ties, density: 0}}", r"density: Input should be greater than 0 \(got 0\)"),
        ("{kind: merge, options: {method: ties, density: 1.1}}", r"density: Input should be less than or equal to 1"),
        (
            "{kind: merge, sources: [specialist-a, specialist-b], options: {method: linear, density: 0.5}}",
            r"ties and dare_ties, and linear does not read it",
        ),
        (
            "{kind: merge, sources: [specialist-a, specialist-b], options: {method: ties, seed: 1}}",
            r"options.seed belongs to dare_ties, and ties does not",
        ),
        ("{kind: dynamic_logits_fusion, sources: [specialist-c]}", r"specialist-c was not trained from a base"),
    ],
)
def test_refused(tmp_path: Path, method: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        check_methods(spec_with(tmp_path, method))
    assert len(str(error.value).splitlines()) <= 3


def test_a_method_that_is_like_another_one_has_its_kind_and_options(tmp_path: Path) -> None:
    pair = "sources: [specialist-a, specialist-b]"
    spec = spec_with(tmp_path, "{kind: fisher, " + pair + ", options: {examples: 3}}\n  twin: {like: made}")
    twin = resolved_methods(spec, {})["twin"]
    assert (twin.kind, twin.options, twin.sources) == ("fisher", {"examples": 3}, ("specialist-a", "specialist-b"))
    check_methods(spec)


def test_in_a_comparison_another_kind_must_be_declared(tmp_path: Path) -> None:
    made = "{kind: soup, sources: [specialist-a, specialist-b]DECLARED}\n  sft: {}"
    spec = spec_with(tmp_path, made.replace("DECLARED", ""))
    compared = spec.model_copy(update={"primary": (("made", "sft"),)})
    with pytest.raises(InputError, match="made has kind 'soup', sft has kind 'train'"):
        require_declared(compared, resolved_methods(compared, {}))
    declared = spec_with(tmp_path, made.replace("DECLARED", ", differs_in: [kind, options]"))
    compared = declared.model_copy(update={"primary": (("made", "sft"),)})
    require_declared(compared, resolved_methods(compared, {}))


@pytest.mark.parametrize(("weights", "found"), [("1, specialist-b: -1", "0"), ("-2, specialist-b: 1", "-1")])
def test_weights_that_cannot_be_normalised_are_refused(tmp_path: Path, weights: str, found: str) -> None:
    method = "{kind: soup, sources: [specialist-a, specialist-b], options: {weights: {specialist-a: " + weights + "}}}"
    with pytest.raises(InputError, match=f"the sum must be above 0, got {found}"):
        check_methods(spec_with(tmp_path, method))


def test_a_world_without_specialists_has_nothing_to_merge(tmp_path: Path) -> None:
    spec = spec_with(tmp_path, "{kind: soup}")
    bare = spec.model_copy(update={"world": spec.world.model_copy(update={"specialists": {}})})
    with pytest.raises(InputError, match=r"needs at least two models, got none\ngive the world two specialists"):
        check_methods(bare)


def test_without_mergekit_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_with(tmp_path, "{kind: merge, sources: [specialist-a, specialist-b], options: {method: ties}}")
    monkeypatch.setattr(merge, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"which is not installed\nrun `pip install 'gldbench\[merge\]'`"):
        check_methods(spec)
    monkeypatch.setattr(merge, "find_spec", lambda name: name)
    check_methods(spec)


def test_mergekit_is_told_the_weights_and_the_density() -> None:
    ties = merge.settings_of(merge.MergeOptions(method="ties", density=0.2), ["a", "b"])
    assert ties == {"weight": {"a": 0.5, "b": 0.5}, "density": {"a": 0.2, "b": 0.2}}
    linear = merge.settings_of(merge.MergeOptions(method="linear", weights={"a": 2, "b": 1}), ["a", "b"])
    assert linear == {"weight": {"a": 2.0, "b": 1.0}}
    assert merge.settings_of(merge.MergeOptions(method="dare_ties"), ["a"])["density"] == {"a": 0.5}


def test_every_kind_has_a_citation_in_its_docstring() -> None:
    for name, method in METHODS.items():
        text = __import__(method.make.__module__, fromlist=["METHOD"]).__doc__
        assert name == "train" or "arXiv" in text, name
