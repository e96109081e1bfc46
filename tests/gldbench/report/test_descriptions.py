"""The line that explains a method says what the spec says of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from gldbench.report.descriptions import describe

SPEC: dict[str, Any] = yaml.safe_load("""
world: {sources: {source-a: {families: [dyck_languages]}}}
methods:
  sft: {}
  sft+uld: {sources: [source-b, source-c], terms: [{loss: uld, weight: 1}]}
  sft+uld+gld: {adds_to: sft+uld, terms: [{loss: gld, weight: 1, options: {nodes: vocab, labelled: true}}]}
  slb: {like: sft+uld+gld, term_options: {gld: {distance: slb}}, times: 0.16}
  one: {like: sft+uld, sources: [source-b], k: 2}
  flat: {like: sft+uld+gld, term_options: {gld: {edges: constant}}}
  mixed: {like: sft+uld, control: shuffled}
  sft+uld-on-policy: {like: sft+uld, on_policy: {every: 20, max_tokens: 80}}
  pairs: {kind: pairwise, like: sft+uld}
  dare: {kind: merge, options: {method: dare_ties}}
  mean: {kind: soup}
  all: {sources: [source-b], terms: [{loss: uld, weight: 1}], k: full}
  all-too: {like: sft+uld, k: full}
  pairs-too: {kind: pairwise, like: sft+uld, k: 2}
""")


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ("source-a", "a source, trained mainly on dyck languages"),
        ("specialist-a", "a model that was fine-tuned from the base of all specialists, for part of the families"),
        ("sft+uld", "fusion with the losses SFT and ULD from source-b and source-c"),
        (
            "sft+uld+gld",
            "fusion with the losses SFT, ULD and GLD (nodes vocab, labelled true) from source-b and source-c",
        ),
        ("slb", "sft+uld+gld, but with GLD (distance slb), with 0.16 times the weight of its own terms"),
        ("one", "sft+uld, but with k = 2, with outputs from source-b"),
        (
            "flat",
            "sft+uld+gld, but every edge weight of the co-activation graph is replaced by one constant",
        ),
        ("sft+uld-on-policy", "sft+uld, but on responses that the pivot writes, which are renewed every 20 steps"),
        ("pairs", "fusion with the losses SFT and ULD from each source alone, then the average of the results"),
        ("dare", "the specialists' weights, merged by mergekit's dare_ties"),
        ("mean", "average of the specialists' weights"),
        ("all", "fusion with the losses SFT and ULD from source-b, on the whole vocabulary of each model"),
        (
            "pairs-too",
            "fusion with the losses SFT and ULD from each source alone, with k = 2, then the average of the results",
        ),
        ("all-too", "sft+uld, but on the whole vocabulary of each model"),
        ("mixed", "sft+uld, but the outputs of the source belong to other examples"),
        ("sft+x-shuffled", "sft+x, but the outputs of the source belong to other examples"),
        ("sft+other", "fusion with the losses SFT and OTHER"),
    ],
)
def test_a_method_is_described_by_its_spec(method: str, line: str) -> None:
    assert describe(method, SPEC, {"source-a": ("dyck_languages",)}, {method: 0.1}) == line


def test_a_term_that_the_tuning_turned_off_is_named() -> None:
    line = describe("mixed", SPEC, {}, {"mixed": 0.0})
    assert (
        line
        == "sft+uld, but the outputs of the source belong to other examples; the tuning gave its own terms the weight 0"
    )
