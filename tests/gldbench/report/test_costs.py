"""Costs of methods: what the pivot, the sources and their stored logits cost, and who is on the frontier."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gldbench.report.costs import costs, frontier, sources_of
from gldbench.report.training import trainings
from gldbench.schema import Row

SPEC: dict[str, Any] = {
    "world": {"sources": {"source-a": {}, "source-b": {}}},
    "methods": {
        "sft": {},
        "sft+uld": {"terms": [{"loss": "uld"}]},
        "sft+kl": {"terms": [{"loss": "kl"}], "sources": ["source-a"]},
        "sft+kl-shuffled": {"like": "sft+kl"},
        "sft+uld+gld": {"adds_to": "sft+uld", "terms": [{"loss": "gld"}]},
        "written": {"kind": "sequence_kd", "sources": ["source-a"]},
        "on-policy": {"like": "sft+kl", "on_policy": {"every": 2}},
        "whole": {"like": "sft+kl", "k": "full"},
        "mix": {"kind": "dynamic_logits_fusion"},
    },
}


def totals(made: SimpleNamespace, method: str, **values: float) -> list[Row]:
    return [
        made.row(suite="training", method=method, metric=metric, item="total", value=value)
        for metric, value in values.items()
    ]


@pytest.fixture
def rows(made: SimpleNamespace) -> list[Row]:
    """A pivot with 10 parameters that trains on 100 tokens; sources with 20 and 30 parameters."""
    found = totals(made, "source-a", flops=6 * 20 * 50, tokens=50, cache_bytes=1000)
    found += totals(made, "source-b", flops=6 * 30 * 70, tokens=70, cache_bytes=500)
    for method in ("sft", "sft+uld", "sft+kl", "sft+kl-shuffled", "sft+uld+gld"):
        found += totals(made, method, flops=6 * 10 * 100, tokens=100, seconds=7.0)
    found += totals(made, "written", flops=6 * 10 * 100, tokens=100, source_flops=77)
    for method in ("on-policy", "whole"):
        found += totals(made, method, flops=6 * 10 * 100, tokens=100)
    return found + totals(made, "mix", flops=6000, tokens=100, inference_models=5)


def test_a_method_costs_its_pivot_and_a_forward_pass_of_each_source(rows: list[Row]) -> None:
    found = {cost.method: cost for cost in costs(trainings(rows), SPEC)}
    assert {cost.pivot_flops for cost in found.values()} == {6000}
    assert found["sft"].source_flops == 0
    assert found["sft+uld"].source_flops == 2 * (20 + 30) * 100
    assert found["sft+kl"].flops == 6000 + 2 * 20 * 100
    assert (found["sft+uld"].cache_bytes, found["sft+kl"].cache_bytes, found["sft"].cache_bytes) == (1500, 1000, 0)
    assert (found["sft"].inference_models, found["mix"].inference_models) == (1, 5)
    assert (found["sft"].seconds, found["mix"].seconds) == (7.0, None)
    assert "source-a" not in found
    assert (found["written"].source_flops, found["written"].cache_bytes) == (77, 0)
    for live in ("on-policy", "whole"):
        assert (found[live].source_flops, found[live].cache_bytes) == (2 * 20 * 100, 0)


def test_a_term_that_the_tuning_turned_off_costs_no_pass_of_a_source(rows: list[Row]) -> None:
    weights = {"sft+kl": 0.0, "sft+uld+gld": 0.0, "sft+uld": 0.1}
    found = {cost.method: cost for cost in costs(trainings(rows), SPEC, weights)}
    for off in ("sft+kl", "sft+kl-shuffled", "whole"):
        assert (found[off].source_flops, found[off].cache_bytes) == (0, 0)
    assert found["sft+uld+gld"].source_flops == found["sft+uld"].source_flops == 2 * (20 + 30) * 100
    assert found["written"].source_flops == 77


def test_a_method_reads_the_sources_of_the_one_that_it_takes_terms_from() -> None:
    assert sources_of("sft", SPEC) == ()
    assert sources_of("sft+kl-shuffled", SPEC) == ("source-a",)
    assert sources_of("sft+uld+gld", SPEC) == ("source-a", "source-b")


def test_the_frontier_holds_who_is_not_beaten_in_cost_and_score() -> None:
    points = {"a": (1.0, 10.0), "b": (2.0, 9.0), "c": (2.0, 30.0), "d": (3.0, 30.0), "e": (4.0, 31.0)}
    assert frontier(points) == ["a", "c", "e"]
