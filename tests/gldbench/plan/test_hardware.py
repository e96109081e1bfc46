"""The rate and the memory that plans assume for an H200 are those that were measured on one."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import median
from typing import Literal

import pytest
from transformers import LlamaConfig

from gldbench.plan.hardware import larger, machine_named
from gldbench.plan.memory import parts
from gldbench.plan.passes import Pass, Shape, measure
from gldbench.plan.scratch import Kernel
from gldbench.plan.settings import Settings
from gldfusion.errors import InputError

REPORT = Path(__file__).resolve().parents[3] / "reports" / "gpu" / "gpu_report.csv"
SETTINGS = Settings(8, "ddp", True, "float32", False, "adamw", None, False, True)


def measured(vocabulary: int, metric: str, kernel: str = "triton") -> float:
    """The median of a metric of the plain training step."""
    size = f"8x1024 H=2048 L=8 V={vocabulary} k=10 bf16 cuda"
    with REPORT.open() as file:
        rows = [r for r in csv.DictReader(file) if (r["task"], r["variant"]) == ("step", size)]
    return median(
        float(r["value"]) for r in rows if (r["subject"], r["method"], r["metric"]) == ("sft", kernel, metric)
    )


def same_step(vocabulary: int) -> Pass:
    """The pass of the model of `gldbench.benches.steps`, on which the GPU was measured."""
    config = LlamaConfig(
        hidden_size=2048,
        intermediate_size=8 * 2048 // 3,
        num_hidden_layers=8,
        num_attention_heads=32,
        num_key_value_heads=32,
        vocab_size=vocabulary,
        tie_word_embeddings=False,
    )
    return measure(config, Shape(8, 1024, autocast=True))


def test_the_rate_of_an_h200_is_the_lower_one_of_two_that_were_measured() -> None:
    rates = {}
    for vocabulary in (32_000, 151_936):
        one = same_step(vocabulary)
        rates[vocabulary] = 3 * (one.flops + one.output_flops) / measured(vocabulary, "seconds")
    assert machine_named("h200", "bf16").rate == pytest.approx(min(rates.values()), rel=0.01)


@pytest.mark.parametrize(("vocabulary", "kernel"), [(32_000, "triton"), (151_936, "triton"), (32_000, "chunked")])
def test_the_memory_of_a_step_is_the_measured_one(vocabulary: int, kernel: Literal["triton", "chunked"]) -> None:
    """The benchmark measures what a step takes beyond weights, gradients and moments."""
    one = same_step(vocabulary)
    found = {p.name: p.value for p in parts(one, one, 8, [], SETTINGS, 1, Kernel(kernel, True, True), 0.0)}
    planned = sum(
        found[name] for name in ("kept for the backward pass", "gradients of one layer's states", "output layer")
    )
    assert planned == pytest.approx(measured(vocabulary, "peak_beyond_gradients", kernel), rel=0.05)


def test_traffic_is_limited_by_the_links_inside_a_node_and_by_the_adapters_between_nodes() -> None:
    for name, gigabytes in (("8xh200", 300), ("4x8xh200", 200), ("2x1xh100", 25), ("8xa100", 200), ("8xl40s", 21.3)):
        machine = machine_named(name, "bf16")
        assert machine.traffic == pytest.approx(gigabytes * 1e9, rel=0.01), name
        assert "assumed" in machine.traffic_source


def test_a_source_in_float32_runs_at_the_rate_of_float32() -> None:
    machine = machine_named("h200", "bf16")
    assert machine.rate_of("bfloat16") == machine.rate
    assert machine.rate_of("float32") == pytest.approx(machine.rate * 67 / 989)


def test_names_of_hardware() -> None:
    nodes = machine_named("4x8xH100", "bf16")
    assert (nodes.nodes, nodes.per_node, nodes.ranks) == (4, 8, 32)
    assert "scaled by the FLOP/s of the data sheets" in nodes.source
    assert machine_named("8xa100", "bf16").rate < nodes.rate
    assert machine_named("h200", "no").rate < machine_named("h200", "bf16").rate
    assert [m.name for m in larger(machine_named("4xh100", "bf16"))] == ["8xh100", "2x8xh100", "4x8xh100", "8x8xh100"]


@pytest.mark.parametrize("name", ["8xh20", "0xh200", "xh200", "8x8x8xh200", "", "h200x8"])
def test_unknown_hardware_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no hardware is called"):
        machine_named(name, "bf16")
