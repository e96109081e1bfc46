"""Computes tiles of logits on an NVIDIA GPU, with Triton.

The forward kernel computes a tile in registers, adds up its sums, and inserts every value above the k-th largest so far
into a list. The first tiles fill the list; later tiles rarely change it. Several programs share the vocabulary of a
row, and torch merges their results. The backward kernel computes the tile again and writes du; cuBLAS then computes the
two products with du.
"""

# pyright: reportMissingImports=false, reportArgumentType=false
# (triton is an optional dependency, and its kernels take plain numbers for parameters declared as constexpr)

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor
from triton import knobs

from gldfusion.errors import InputError
from gldfusion.kernels.arguments import Inputs, RowGradients, Use
from gldfusion.kernels.early import Early
from gldfusion.kernels.naive import TopKCrossEntropy
from gldfusion.kernels.output_layer import MAX_TRITON_K, Options
from gldfusion.kernels.triton_kernels import gradient_kernel, sweep_kernel

STATISTICS = 5
"""number of statistics per row and part of the vocabulary: largest logit, sum of exp(z - largest), mean, sum of squares
around the mean, logit of the label"""


HOPPER = tuple(
    triton.Config({"BLOCK_N": n, "BLOCK_V": v, "BLOCK_H": 64}, num_warps=warps, num_stages=stages)
    for n, v, warps, stages in ((128, 256, 8, 3), (128, 256, 8, 4), (64, 128, 4, 4), (128, 128, 8, 3))
)
"""tile sizes among which `tuned` kernels choose. On an H200 the first was the fastest of six for all large products,
and the third for few vocabulary entries. All fit the shared memory of compute capability 9.0 in bfloat16; the tuner
drops those that do not fit in float32 or on another GPU"""
TUNED = {
    sweep_kernel: triton.autotune(configs=list(HOPPER), key=["h", "v", "k"])(sweep_kernel),
    gradient_kernel: triton.autotune(configs=list(HOPPER), key=["h", "c", "singles"])(gradient_kernel),
}
"""the kernels, with tile sizes that are measured at the first call for a width, a vocabulary and a dtype"""
WIDEST = 256
"""largest BLOCK_V of HOPPER"""


@dataclass(frozen=True)
class TritonTiles:
    """Computes tiles with the Triton kernels."""

    rows: int = 8192
    """positions of a tile of du, which the backward pass keeps in memory"""
    columns: int = 4096
    """vocabulary entries of such a tile"""
    block_n: int = 128
    """positions of a tile in registers"""
    block_v: int = 128
    """vocabulary entries of a tile in registers"""
    block_h: int = 64
    """hidden dimensions that are multiplied at a time"""
    warps: int = 8
    """warps per program"""
    stages: int = 3
    """pipeline stages of the loop over hidden dimensions"""
    tuned: bool = False
    """measure the tile sizes of HOPPER at the first call and use the fastest. The six fields above then have no effect
    on the tiles in registers"""
    parts: int | None = None
    """number of programs that share the vocabulary of a row. None: enough for two programs per multiprocessor"""

    def sweep(
        self, inputs: Inputs, k: int, options: Options, wanted: tuple[bool, bool, bool], use: Use
    ) -> tuple[TopKCrossEntropy, Early | None]:
        """See `fused.Tiles.sweep`. It prepares no gradient."""
        _check(inputs, k)
        x, w = (t.to(inputs.compute).contiguous() for t in (inputs.hidden, inputs.weight))
        n, entries = len(x), options.entries
        if n == 0:
            empty = torch.zeros(0, device=x.device)
            none = TopKCrossEntropy(
                nll=empty,
                values=empty.new_zeros(0, k),
                ids=empty.new_zeros(0, k).long(),
                lse=empty,
                mean=empty,
                var=empty,
            )
            return none, None
        share = self._share(x, entries)
        parts = triton.cdiv(entries, share)
        statistics = torch.empty(STATISTICS, parts, n, device=x.device)
        values = torch.empty(n, parts, k, device=x.device)
        ids = torch.empty(n, parts, k, dtype=torch.int32, device=x.device)
        self._kernel(sweep_kernel)[lambda sizes: (triton.cdiv(n, sizes["BLOCK_N"]), parts)](
            x, w, w if inputs.bias is None else inputs.bias, inputs.labels, statistics, values, ids,
            n, entries, x.shape[1], k, share, options.scale, options.softcap or 1.0,
            SLOTS=triton.next_power_of_2(k), **self._constants(x, inputs.bias, options),
        )  # fmt: skip
        counts = (entries - share * torch.arange(parts, device=x.device)).clamp_max(share)
        return _merge(statistics, counts, values.flatten(1), ids.flatten(1).clamp_max(entries - 1).long(), k), None

    def gradient(
        self, hidden: Tensor, block: Tensor, bias: Tensor | None, first: int, given: RowGradients, options: Options
    ) -> Tensor:
        """See `fused.Tiles.gradient`. The result is in the dtype of the factors."""
        hidden, block = hidden.contiguous(), block.contiguous()
        (n, width), c = hidden.shape, len(block)
        du = torch.empty(n, c, dtype=hidden.dtype, device=hidden.device)
        zeros = torch.zeros(n, device=hidden.device)
        soft, spread, shift = (zeros if g is None else g.contiguous() for g in (given.soft, given.spread, given.shift))
        grid = lambda sizes: (triton.cdiv(n, sizes["BLOCK_N"]), triton.cdiv(c, sizes["BLOCK_V"]))  # noqa: E731
        self._kernel(gradient_kernel)[grid](
            hidden, block, block if bias is None else bias, given.lse, soft, given.mean, spread, shift,
            given.columns - first, given.amounts.contiguous(), du,
            n, c, width, given.columns.shape[1], options.scale, options.softcap or 1.0,
            **self._constants(hidden, bias, options),
        )  # fmt: skip
        return du

    def _kernel(self, kernel: Any) -> Any:
        return TUNED[kernel] if self.tuned else kernel

    def _constants(self, x: Tensor, bias: Tensor | None, options: Options) -> dict[str, Any]:
        given = {
            "HAS_BIAS": bias is not None,
            "HAS_CAP": options.softcap is not None,
            "EVEN": x.shape[1] % (64 if self.tuned else self.block_h) == 0,
        }
        return (
            given
            if self.tuned
            else given
            | {
                "BLOCK_N": self.block_n,
                "BLOCK_V": self.block_v,
                "BLOCK_H": self.block_h,
                "num_warps": self.warps,
                "num_stages": self.stages,
            }
        )

    def _share(self, x: Tensor, entries: int) -> int:
        """The number of vocabulary entries per program, a multiple of every `BLOCK_V` that may be chosen."""
        block = WIDEST if self.tuned else self.block_v
        tiles, parts = triton.cdiv(entries, block), self.parts
        if parts is None:
            programs = 2 * torch.cuda.get_device_properties(x.device).multi_processor_count
            parts = triton.cdiv(programs, triton.cdiv(len(x), self.block_n))
        return triton.cdiv(tiles, min(parts, tiles)) * block


def _merge(statistics: Tensor, counts: Tensor, values: Tensor, ids: Tensor, k: int) -> TopKCrossEntropy:
    """Merges the results of P parts of the vocabulary.

    Args:
        statistics: [5, P, N].
        counts: [P] number of entries of each part.
        values: [N, P k] the largest logits of each part.
        ids: [N, P k] their vocabulary ids.
        k: number of logits to keep.
    """
    tops, totals, means, squares, picked = statistics
    top = tops.amax(0)
    logs = (totals * (tops - top).exp()).sum(0).log()
    shares = (counts / counts.sum())[:, None]
    mean = (means * shares).sum(0)
    var = (squares.sum(0) / counts.sum()) + ((means - mean).square() * shares).sum(0)
    by_id = ids.argsort(1)
    values, ids = values.gather(1, by_id), ids.gather(1, by_id)
    values, order = values.sort(dim=1, descending=True, stable=True)  # equal values stay in the order of their ids
    return TopKCrossEntropy(
        nll=logs + (top - picked.sum(0)),
        values=values[:, :k].contiguous(),
        ids=ids.gather(1, order[:, :k]),
        lse=logs + top,
        mean=mean,
        var=var,
    )


def _check(inputs: Inputs, k: int) -> None:
    hidden = inputs.hidden
    if not hidden.is_cuda and not knobs.runtime.interpret:
        raise InputError('the triton kernels run on a CUDA device, but the input is on the CPU\nuse impl="chunked"')
    if inputs.accumulate != torch.float32:
        raise InputError(f'the triton kernels take float32 or half precision, got {inputs.compute}\nuse impl="chunked"')
    if k > MAX_TRITON_K:
        raise InputError(
            f'the triton kernels keep at most {MAX_TRITON_K} logits per position, got k = {k}\nuse impl="chunked"'
        )
