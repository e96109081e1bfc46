"""`CONTENDERS`: our implementations of cross-entropy, plain torch, and fused kernels of other projects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from gldbench.benches.kernel_inputs import Problem
from gldfusion.kernels import topk_cross_entropy
from gldfusion.kernels.dispatch import Implementation

Work = Callable[[Problem], tuple[Tensor, ...]]
"""one forward and backward pass; returns the gradients of hidden states and weight"""
TOPK, PLAIN = "ce+topk", "ce"
"""names of the two tasks in rows"""


@dataclass(frozen=True)
class Contender:
    """One implementation of a loss and its gradients."""

    task: str
    """TOPK: it computes the mean label loss plus a linear form of the k largest logits. PLAIN: only the former"""
    work: Work
    missing: Callable[[str], str]
    """device -> why it cannot run there; an empty string if it can"""
    package: str = "torch"
    """name of the distribution that contains its code"""

    @property
    def version(self) -> str:
        """Package and version, or only the package if it is not installed."""
        try:
            return f"{self.package} {metadata.version(self.package)}"
        except metadata.PackageNotFoundError:
            return self.package


def _gradients(problem: Problem, loss: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, (problem.hidden, problem.weight))


def _dense(problem: Problem, topk: bool) -> tuple[Tensor, ...]:
    logits = linear(problem.hidden, problem.weight)
    loss = cross_entropy(logits, problem.labels)
    if topk:
        loss = loss + (logits.topk(problem.k).values * problem.pull).sum()
    return _gradients(problem, loss)


def _ours(problem: Problem, impl: Implementation, topk: bool) -> tuple[Tensor, ...]:
    k = problem.k if topk else 1
    out = topk_cross_entropy(problem.hidden, problem.weight, problem.labels, k, impl=impl, use="sum")
    loss = out.nll.mean()
    return _gradients(problem, loss + (out.values * problem.pull).sum() if topk else loss)


def _liger(problem: Problem) -> tuple[Tensor, ...]:
    loss: Any = import_module("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss()
    return _gradients(problem, loss(problem.weight, problem.hidden, problem.labels))


def _cut(problem: Problem, impl: str) -> tuple[Tensor, ...]:
    function: Any = import_module("cut_cross_entropy").linear_cross_entropy
    return _gradients(problem, function(problem.hidden, problem.weight, problem.labels, impl=impl))


def _never(device: str) -> str:
    return ""


def _needs(module: str, device: str, cuda: bool) -> str:
    if find_spec(module) is None:
        return f"{module} is not installed"
    return f"{module} needs a CUDA device: not measured" if cuda and device == "cpu" else ""


CONTENDERS: dict[str, Contender] = {
    "dense": Contender(TOPK, partial(_dense, topk=True), _never),
    "chunked": Contender(TOPK, partial(_ours, impl="chunked", topk=True), _never, "gldbench"),
    "triton": Contender(
        TOPK, partial(_ours, impl="triton", topk=True), partial(_needs, "triton", cuda=True), "gldbench"
    ),
    "dense_ce": Contender(PLAIN, partial(_dense, topk=False), _never),
    "chunked_ce": Contender(PLAIN, partial(_ours, impl="chunked", topk=False), _never, "gldbench"),
    "triton_ce": Contender(
        PLAIN, partial(_ours, impl="triton", topk=False), partial(_needs, "triton", cuda=True), "gldbench"
    ),
    "liger": Contender(PLAIN, _liger, partial(_needs, "liger_kernel", cuda=True), "liger-kernel"),
    "cce": Contender(
        PLAIN, partial(_cut, impl="cce"), partial(_needs, "cut_cross_entropy", cuda=True), "cut-cross-entropy"
    ),
    "cce_torch_compile": Contender(
        PLAIN,
        partial(_cut, impl="torch_compile"),
        partial(_needs, "cut_cross_entropy", cuda=False),
        "cut-cross-entropy",
    ),
}
"""on a CPU, the contenders whose kernels need a GPU become skipped rows"""
