"""Compares implementations of the fused loss with the naive reference, on the `CASES` that the tests use too.

    python -m gldbench.benches.equality

Each row is the difference of one output or gradient in one case: the largest absolute difference of its entries,
divided by the largest entry of the reference or by 1, whichever is larger. Gradients are those of a random linear form
of all outputs. Gradients marked "(mean)" are those of the summed label loss and a random linear form of the kept
logits; for them the forward pass can prepare the softmax part.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gldbench.benches.command_line import KERNEL_ROWS, Script
from gldbench.benches.write_rows import as_json, row, write
from gldbench.console import reporter
from gldbench.schema import Row
from gldfusion.kernels import TopKCrossEntropy
from gldfusion.kernels.arguments import Use
from gldfusion.kernels.chunked import Chunked
from gldfusion.kernels.fused import FusedTopK, Tiles
from gldfusion.kernels.naive import naive
from gldfusion.kernels.output_layer import Options

Function = Callable[[Tensor, Tensor, Tensor | None, Tensor, int, Options], TopKCrossEntropy]
"""(hidden, weight, bias, labels, k, options) -> outputs, as `naive`"""


@dataclass(frozen=True)
class Case:
    """The sizes and options of one comparison. Random numbers come from seed 0."""

    positions: int = 7
    width: int = 5
    entries: int = 23
    k: int = 3
    padding: int = 0
    """rows of the weight beyond the entries"""
    bias: bool = True
    scale: float = 1.0
    softcap: float | None = None
    ignored: str = "some"
    """which labels are ignored: "some", "all" or "none" """
    levels: int = 0
    """hidden states and weight have so many different whole values, so that logits tie; 0: normal numbers"""
    frozen: bool = False
    """weight and bias require no gradient"""

    def tensors(self, dtype: torch.dtype, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Makes hidden states, weight, bias and labels."""
        random = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            drawn = torch.randn(*shape, dtype=torch.float64, generator=random)
            return (drawn.round().clamp(0, self.levels - 1) if self.levels else drawn).to(device, dtype)

        n, v = self.positions, self.entries + self.padding
        hidden, weight, bias = draw(n, self.width), draw(v, self.width), draw(v) if self.bias else None
        labels = torch.randint(self.entries, (n,), generator=random)
        ignored = {"some": slice(1, None, 3), "all": slice(None), "none": slice(0)}[self.ignored]
        labels[ignored] = -100
        for tensor in (weight, bias):
            if tensor is not None:
                tensor.requires_grad_(not self.frozen)
        return hidden.requires_grad_(), weight, bias, labels.to(device)

    @property
    def options(self) -> Options:
        return Options(self.entries, -100, self.scale, self.softcap)


CASES: dict[str, Case] = {
    "plain": Case(bias=False),
    "bias": Case(),
    "odd sizes": Case(positions=19, width=37, entries=131, k=5),
    "whole tiles": Case(positions=32, width=16, entries=96, k=16),
    "k = 1": Case(k=1),
    "k = V": Case(k=23),
    "one entry": Case(entries=1, k=1),
    "one position": Case(positions=1),
    "no position": Case(positions=0),
    "all masked": Case(ignored="all"),
    "none masked": Case(ignored="none"),
    "ties": Case(positions=16, width=2, entries=60, k=7, levels=2),
    "all equal": Case(entries=60, k=9, levels=1),
    "padded rows": Case(padding=6, entries=30),
    "scale": Case(scale=0.25),
    "soft cap": Case(softcap=2.0),
    "scale and cap": Case(scale=3.0, softcap=5.0, padding=3, positions=19, entries=50),
    "frozen head": Case(frozen=True),
    "far logits": Case(positions=9, width=64, entries=200, k=8, scale=30.0),
}
QUICK = ("plain", "bias", "odd sizes", "ties", "soft cap")
"""the cases of `--quick`"""
SMALL = Chunked(rows=3, columns=8, held=60, kept=150)
"""tiles so small that almost every case has several, the last of them incomplete; the logits of some positions only are
kept for the backward pass"""
USES: tuple[Use, ...] = ("any", "sum")


def fused(tiles: Tiles, use: Use = "any") -> Function:
    """Returns the fused function on given tiles, with the arguments of `naive`. `use` must fit the gradients."""

    def function(*arguments: Tensor | int | Options | None) -> TopKCrossEntropy:
        return TopKCrossEntropy(*FusedTopK.apply(*arguments, tiles, torch.is_grad_enabled(), use))

    return function


def results(function: Function, case: Case, dtype: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    """Runs a function on a case; returns its outputs and gradients by name."""
    found: dict[str, Tensor] = {}
    for mean in (False, True):
        hidden, weight, bias, labels = case.tensors(dtype, device)
        out = function(hidden, weight, bias, labels, case.k, case.options)
        _form(out, mean).backward()
        found |= {name: tensor.detach() for name, tensor in out._asdict().items()}
        for name, tensor in (("hidden", hidden), ("weight", weight), ("bias", bias)):
            if tensor is not None and tensor.grad is not None:
                found[f"d {name}{' (mean)' if mean else ''}"] = tensor.grad
    return found


def _form(out: TopKCrossEntropy, mean: bool) -> Tensor:
    """Computes the number from which the compared gradients start.

    Args:
        out: the outputs.
        mean: False: a random linear form of all outputs. True: 0.7 times the sum of the label losses, plus a random
            linear form of the kept logits.
    """
    random = torch.Generator().manual_seed(1)
    total = 0.7 * out.nll.sum() if mean else torch.zeros_like(out.nll.sum())
    for name in ("values",) if mean else ("nll", "values", "lse", "mean", "var"):
        tensor: Tensor = getattr(out, name)
        total = total + (tensor * torch.randn(tensor.shape, dtype=torch.float64, generator=random).to(tensor)).sum()
    return total


def differences(
    function: Function, case: Case, dtype: torch.dtype, reference: torch.dtype | None = None, device: str = "cpu"
) -> dict[str, float]:
    """Compares a function with `naive` on one case.

    Args:
        function: the function.
        case: the case.
        dtype: dtype of the tensors.
        reference: dtype in which `naive` computes, from the same rounded numbers; None: `dtype`.
        device: device of the tensors.

    Returns:
        Name of an output or gradient -> its difference (see above). For ids: the number of places that differ.
    """
    wide = reference or dtype
    got = results(function, case, dtype, device)

    def widened(hidden: Tensor, weight: Tensor, bias: Tensor | None, *rest: object) -> TopKCrossEntropy:
        return naive(hidden.to(wide), weight.to(wide), None if bias is None else bias.to(wide), *rest)  # type: ignore[arg-type]

    want = results(widened, case, dtype, device)
    assert got.keys() == want.keys(), f"{sorted(got)} and {sorted(want)}"
    return {name: _difference(got[name], want[name]) for name in want}


def _difference(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape, f"{list(got.shape)} and {list(want.shape)}"
    if not want.is_floating_point():
        return float((got != want).sum())
    if not want.numel():
        return 0.0
    return float((got.double() - want.double()).abs().max() / want.double().abs().max().clamp_min(1))


def table(name: str) -> Iterator[Row]:
    """Compares the chunked implementation, in float64 and float32, with float64 naive; one row per output of a case."""
    for dtype in (torch.float64, torch.float32):
        variant = f"{name} {str(dtype).removeprefix('torch.')}"
        each = [differences(fused(SMALL, use), CASES[name], dtype, torch.float64) for use in USES]
        for output in each[0]:
            unit = "places" if output == "ids" else "1"
            method = "max difference from naive / max(1, max)"
            yield row("equality", variant, "chunked", output, max(d[output] for d in each), unit, method=method)


def _script() -> Script:
    script = Script("equality", __doc__)
    script.output(KERNEL_ROWS)
    return script


def _work(given: Namespace) -> int:
    names = QUICK if given.quick else tuple(CASES)
    rows: list[Row] = []
    with reporter("bench equality") as report:
        for name in names:
            report(name, 0, 1)
        for name in names:
            rows += table(name)
            report(name, 1, 1)
    path = given.output and write(rows, given.output, "equality", threads=1, quick=given.quick)
    if given.json:
        print(json.dumps({"rows": as_json(rows), "file": path and str(path)}, indent=2))
        return 0
    for dtype in ("float64", "float32"):
        own = [r for r in rows if r.variant.endswith(dtype)]
        worst = max(own, key=lambda r: r.value or 0.0)
        print(f"{dtype}: largest difference {worst.value:.3g} ({worst.variant}: {worst.metric}) of {len(own)}")
    if path:
        print(path)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
