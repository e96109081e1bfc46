"""Every implementation against the naive reference: one table of cases, for the tests and for the committed rows.

    python -m gldbench.benches.equality

A case's difference is that of each output, and of each gradient: the largest one over the largest entry of the
reference, or over 1 where that is smaller. Gradients are those of a random linear form of all outputs, and ("mean") of
the summed label loss and the kept logits, whose softmax part a forward pass can prepare.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gldbench.benches.write_rows import row, write
from gldbench.schema import Row
from gldfusion.kernels import TopKCrossEntropy
from gldfusion.kernels.chunked import Chunked
from gldfusion.kernels.fused import FusedTopK, Tiles
from gldfusion.kernels.naive import naive
from gldfusion.kernels.output_layer import Options

Function = Callable[[Tensor, Tensor, Tensor | None, Tensor, int, Options], TopKCrossEntropy]


@dataclass(frozen=True)
class Case:
    """Sizes and options; what is random comes from seed 0."""

    positions: int = 7
    width: int = 5
    entries: int = 23
    k: int = 3
    padding: int = 0
    """further rows of weight"""
    bias: bool = True
    scale: float = 1.0
    softcap: float | None = None
    ignored: str = "some"
    """ "some", "all" or "none" of the labels"""
    levels: int = 0
    """hidden and weight take so many whole values, so that logits tie; 0: normal"""
    frozen: bool = False
    """weight and bias take no gradient"""

    def tensors(self, dtype: torch.dtype, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """hidden, weight, bias, labels"""
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
SMALL = Chunked(rows=3, columns=8, held=60)
"""tiles that leave a rest in every case"""


def fused(tiles: Tiles) -> Function:
    """The fused function on given tiles, called as `naive` is."""

    def function(*arguments: Tensor | int | Options | None) -> TopKCrossEntropy:
        return TopKCrossEntropy(*FusedTopK.apply(*arguments, tiles, torch.is_grad_enabled()))

    return function


def results(function: Function, case: Case, dtype: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    """Outputs and gradients by name."""
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
    """A linear form: of all outputs with random factors, or with one factor of every label loss."""
    random = torch.Generator().manual_seed(1)
    total = 0.7 * out.nll.sum() if mean else torch.zeros_like(out.nll.sum())
    for name in ("values",) if mean else ("nll", "values", "lse", "mean", "var"):
        tensor: Tensor = getattr(out, name)
        total = total + (tensor * torch.randn(tensor.shape, dtype=torch.float64, generator=random).to(tensor)).sum()
    return total


def differences(
    function: Function, case: Case, dtype: torch.dtype, reference: torch.dtype | None = None, device: str = "cpu"
) -> dict[str, float]:
    """name -> largest difference from naive (see above); of ids the number of places that differ.

    Args:
        reference: the dtype that naive computes in, from the same (rounded) numbers; None: `dtype`.
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


def table() -> Iterator[Row]:
    """A row for each case and output of the chunked implementation, float64 and float32 against float64 naive."""
    for name, case in CASES.items():
        for dtype in (torch.float64, torch.float32):
            for output, difference in differences(fused(SMALL), case, dtype, torch.float64).items():
                variant = f"{name} {str(dtype).removeprefix('torch.')}"
                unit = "places" if output == "ids" else "1"
                yield row(
                    "equality",
                    variant,
                    "chunked",
                    output,
                    difference,
                    unit,
                    method="max difference from naive / max(1, max)",
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("reports/kernels"))
    rows = list(table())
    for dtype in ("float64", "float32"):
        worst = max((r for r in rows if r.variant.endswith(dtype)), key=lambda r: r.value or 0.0)
        print(f"{dtype}: largest difference {worst.value:.3g} ({worst.variant}: {worst.metric}) of {len(rows) // 2}")
    print(write(rows, parser.parse_args().output, "equality", threads=1))


if __name__ == "__main__":
    main()
