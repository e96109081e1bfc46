"""The plan of the paper's fusion, figure by figure, beside plain arithmetic with the published sizes of its models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from gldbench.cli import app

STEPS, BATCH, LENGTH = 2000, 64, 4096
TOKENS = STEPS * BATCH * LENGTH


@dataclass(frozen=True)
class Size:
    """The published sizes of a model with gated MLPs and grouped heads."""

    vocabulary: int
    width: int
    between: int
    """width inside an MLP"""
    layers: int
    heads: int
    groups: int
    """heads of keys and values"""
    head: int
    """width of a head"""
    bias: bool = False
    """of queries, keys and values"""

    @property
    def matrices(self) -> int:
        """Numbers in the matrices of a layer."""
        queries, others = self.heads * self.head, 2 * self.groups * self.head
        return self.width * (2 * queries + others + 3 * self.between)

    @property
    def parameters(self) -> int:
        """Numbers in all weights."""
        vectors = 2 * self.width + (self.heads + 2 * self.groups) * self.head * self.bias
        return self.layers * (self.matrices + vectors) + 2 * self.vocabulary * self.width + self.width

    @property
    def forward(self) -> int:
        """FLOPs of a token: 2 for each number of a matrix, and 4 for each pair of tokens and number of a head."""
        attention = 4 * LENGTH * self.heads * self.head
        return 2 * self.vocabulary * self.width + self.layers * (2 * self.matrices + attention)


PHI = Size(100352, 5120, 17920, 40, 40, 10, 128)
QWEN = Size(152064, 5120, 13824, 48, 40, 8, 128, bias=True)
MISTRAL = Size(131072, 5120, 32768, 40, 32, 8, 128)
SOURCES = {"qwen2.5-14b": QWEN, "mistral-small-24b": MISTRAL, "r1-distill-qwen-14b": QWEN}
RATE = 139e12


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    """The plan on 8 H200 that share the weights."""
    arguments = ["plan", "paper", "--hardware", "8xh200", "--parallel", "fsdp", "--json"]
    return json.loads(CliRunner().invoke(app, arguments).stdout)


def value(plan: dict[str, Any], name: str) -> float:
    return plan["figures"][name]["value"]


def test_parameters_and_tokens(plan: dict[str, Any]) -> None:
    for name, size in {"pivot": PHI, **SOURCES}.items():
        assert value(plan, f"parameters of {name}") == size.parameters, name
    assert value(plan, "tokens of the training") == TOKENS


def test_flops(plan: dict[str, Any]) -> None:
    assert value(plan, "FLOPs of the pivot") == pytest.approx(3 * PHI.forward * TOKENS, rel=1e-3)
    assert 1 < value(plan, "FLOPs of the pivot") / (6 * PHI.parameters * TOKENS) < 1.1  # attention is above 6ND
    reading = sum(size.forward for size in SOURCES.values()) * TOKENS
    assert value(plan, "FLOPs of caches") == pytest.approx(reading, rel=1e-3)
    assert value(plan, "FLOPs of live sources") == 0


def test_memory_of_a_process(plan: dict[str, Any]) -> None:
    memory = {name: part["value"] for name, part in plan["memory"].items()}
    share = PHI.parameters / 8
    assert (memory["weights"], memory["gradients"], memory["state of adamw"]) == (4 * share, 4 * share, 8 * share)
    outside = 2 * PHI.vocabulary * PHI.width + PHI.width
    layer = PHI.matrices + 2 * PHI.width
    assert memory["gathered weights"] == 8 * (outside + 2 * layer)
    assert plan["peak_memory"] == pytest.approx(sum(memory.values()))
    # A bf16 copy of all matrices of the layers. Each layer keeps of a token the results of its MLP (2 bytes each: gate,
    # other factor, activated gate, product of both), of its attention, and of two norms in float32.
    kept = memory["kept for the backward pass"] - 2 * PHI.layers * PHI.matrices
    each = 2 * 4 * PHI.between + 2 * (2 * PHI.width + 2 * PHI.groups * PHI.head) + 2 * (3 * 4 + 2) * PHI.width
    assert kept == pytest.approx(LENGTH * PHI.layers * each, rel=0.1)
    largest = 2 * (MISTRAL.parameters + 2**15 * (3 * MISTRAL.between + 4 * MISTRAL.width))
    assert plan["caching"]["value"] == pytest.approx(largest, rel=0.01)
    assert value(plan, "host memory while loading") == 4 * PHI.parameters  # one process loads it
    assert value(plan, "host memory while saving") == 12 * PHI.parameters


def test_disk(plan: dict[str, Any]) -> None:
    models = PHI.parameters + sum(size.parameters for size in SOURCES.values())
    assert value(plan, "models on disk") == 2 * models
    assert value(plan, "fused checkpoint") == 2 * PHI.parameters
    assert value(plan, "training states") == 3 * 12 * PHI.parameters
    assert value(plan, "caches on disk") == pytest.approx(26.5 * 3 * TOKENS)


def test_hours(plan: dict[str, Any]) -> None:
    rounds = BATCH // 8
    outside = 2 * PHI.vocabulary * PHI.width + PHI.width
    moved = 7 / 8 * (4 * (2 * PHI.parameters - outside) + 4 * PHI.parameters)
    traffic = STEPS * rounds * moved / 300e9 / 3600
    assert value(plan, "hours of traffic, in them") == pytest.approx(traffic, rel=1e-3)
    computing = 3 * PHI.forward * TOKENS / RATE / 8 / 3600
    assert value(plan, "hours of the training") == pytest.approx(computing + traffic, rel=1e-3)
    reading = sum(size.forward for size in SOURCES.values()) * TOKENS / RATE / 8 / 3600
    assert value(plan, "hours of caches") == pytest.approx(reading, rel=1e-3)
