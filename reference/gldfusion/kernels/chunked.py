"""Computes tiles of logits in plain torch, on any device.

On a CPU, half-precision factors are converted to float32 tile by tile. On CUDA, tensor cores multiply them. So products
are exact and sums are float32 on both, as in `naive`. No number is read from a device, so the program never waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gldfusion.kernels.arguments import Inputs, RowGradients, Use
from gldfusion.kernels.early import Early
from gldfusion.kernels.kept import Kept, gradient_of
from gldfusion.kernels.largest import largest, on_host
from gldfusion.kernels.naive import TopKCrossEntropy
from gldfusion.kernels.output_layer import Options
from gldfusion.kernels.products import for_product, product
from gldfusion.kernels.scratch import Scratch

MAX_SINGLES = 256
"""largest k for which the forward pass prepares the gradient: each kept logit costs an addition of a row of weights"""


@dataclass(frozen=True)
class Chunked:
    """Computes tiles of `rows` positions and `columns` vocabulary entries."""

    rows: int = 512
    columns: int = 4096
    held: int = 2**25
    """number of logits in memory at once if the forward pass prepares the gradient"""
    kept: int = 2**27
    """number of logits that stay in memory until the backward pass if the gradient cannot be prepared. They are those
    of the first positions, and need not be computed again"""
    scratch: Scratch = field(default_factory=Scratch, compare=False)
    """where the memory for held and kept logits comes from"""

    @classmethod
    def on(cls, device: torch.device, scratch: Scratch | None = None) -> Chunked:
        """Tiles for a device. A GPU needs large products to be busy, and has the memory for them."""
        scratch = scratch or Scratch()
        if device.type == "cuda":
            return cls(rows=4096, columns=32_768, held=2**27, kept=2**28, scratch=scratch)
        return cls(scratch=scratch)

    def sweep(
        self, inputs: Inputs, k: int, options: Options, wanted: tuple[bool, bool, bool], use: Use
    ) -> tuple[TopKCrossEntropy, Early | Kept | None]:
        """See `fused.Tiles.sweep`.

        It prepares the gradient if k is at most MAX_SINGLES and, on a CPU, if the inputs are in the dtype of the sums.
        """
        running = Running.empty(inputs, k)
        exact = inputs.hidden.dtype == inputs.weight.dtype == inputs.accumulate
        if not any(wanted):
            self._vocabulary_outside(inputs, options, running)
            return running.result(options.entries), None
        if use == "sum" and k <= MAX_SINGLES and (exact or inputs.hidden.is_cuda):
            early = Early.empty(inputs, wanted, options)
            self._positions_outside(inputs, options, running, early)
            return running.result(options.entries), early
        rows = min(len(inputs.hidden), self.kept // options.entries)
        kept = Kept(self._take(rows, options, inputs), self.scratch)
        self._vocabulary_outside(inputs, options, running, kept)
        return running.result(options.entries), kept

    def _vocabulary_outside(self, inputs: Inputs, options: Options, running: Running, kept: Kept | None = None) -> None:
        """Loops over the vocabulary outside and over positions inside: each block of weights is converted once."""
        for at in self._blocks(options):
            block, bias = _factors(inputs, at)
            for start in range(0, len(inputs.hidden), self.rows):
                part = slice(start, start + self.rows)
                z = _logits(inputs.hidden[part], block, bias, options, inputs.accumulate)
                if kept is not None:
                    kept.keep(part, at, z)
                running.add(part, z, at.start)

    def _positions_outside(self, inputs: Inputs, options: Options, running: Running, early: Early) -> None:
        """Loops over positions outside: all logits of a few positions are kept until their softmax is used."""
        rows = max(1, self.held // options.entries)
        held = self._take(min(rows, len(inputs.hidden)), options, inputs)
        for start in range(0, len(inputs.hidden), rows):
            part = slice(start, min(start + rows, len(inputs.hidden)))
            x, logits = inputs.hidden[part].to(inputs.compute), held[: part.stop - start]
            for at in self._blocks(options):
                tile = _logits(x, *_factors(inputs, at), options, inputs.accumulate)
                logits[:, at] = tile
                running.add(part, tile, at.start)
            lse, labelled = running.lse(part), x * early.labelled[part, None]
            for at in self._blocks(options):
                slope = options.slope(logits[:, at])
                softmax = logits[:, at].sub_(lse[:, None]).exp_()
                if not isinstance(slope, float) or slope != 1:
                    softmax.mul_(slope)
                early.add(
                    part, at, for_product(softmax, inputs.compute), labelled, inputs.weight[at].to(inputs.compute)
                )

        self.scratch.give_back(held)

    def _take(self, rows: int, options: Options, inputs: Inputs) -> Tensor:
        return self.scratch.take(rows, options.entries, inputs.accumulate, inputs.hidden.device)

    def _blocks(self, options: Options) -> Iterator[slice]:
        for first in range(0, options.entries, self.columns):
            yield slice(first, min(first + self.columns, options.entries))

    def gradient(
        self, hidden: Tensor, block: Tensor, bias: Tensor | None, first: int, given: RowGradients, options: Options
    ) -> Tensor:
        """See `fused.Tiles.gradient`. The result is in the dtype `Inputs.accumulate`."""
        return gradient_of(_logits(hidden, block, bias, options, given.lse.dtype), first, given, options)


@dataclass
class Running:
    """Sums and maxima over the vocabulary entries that were seen so far, for each of N positions."""

    labels: Tensor
    """[N] vocabulary ids"""
    top: Tensor
    """[N] largest logit"""
    total: Tensor
    """[N] sum of exp(z - top)"""
    center: Tensor
    """[N] mean of the first tile, which is subtracted before the sums below. This keeps cancellation small: with T
    tiles, (mean - center)^2 <= T var"""
    first_moment: Tensor
    """[N] sum of (z - center)"""
    second_moment: Tensor
    """[N] sum of (z - center)^2"""
    picked: Tensor
    """[N] logit of the label, or 0 if it was not seen"""
    values: Tensor
    """[N, k] the largest logits, in descending order; -inf if fewer than k were seen"""
    ids: Tensor
    """[N, k] their vocabulary ids"""

    @classmethod
    def empty(cls, inputs: Inputs, k: int) -> Running:
        """The state before the first tile."""
        n, device = len(inputs.hidden), inputs.hidden.device
        total, center, first, second, picked = torch.zeros(5, n, dtype=inputs.accumulate, device=device)
        values = torch.full((n, k), -torch.inf, dtype=inputs.accumulate, device=device)
        ids = torch.zeros(n, k, dtype=torch.long, device=device)
        top = torch.full_like(total, -torch.inf)
        return cls(inputs.labels, top, total, center, first, second, picked, values, ids)

    def add(self, part: slice, z: Tensor, first: int) -> None:
        """Adds a tile.

        Args:
            part: the n positions of the tile.
            z: its logits [n, c], which are overwritten.
            first: id of the first of its c vocabulary entries.
        """
        self._keep_largest(part, z, first)
        at = self.labels[part] - first
        inside = (at >= 0) & (at < z.shape[1])
        label = z.gather(1, at.clamp(0, z.shape[1] - 1)[:, None])[:, 0]
        self.picked[part] = torch.where(inside, label, self.picked[part])
        if first == 0:
            self.center[part] = z.mean(1)
        before, top = self.top[part], self.values[part, 0]
        z.sub_(self.center[part, None])
        self.first_moment[part] += z.sum(1)
        self.second_moment[part] += torch.linalg.vector_norm(z, dim=1).square_()
        exps = z.add_((self.center[part] - top)[:, None]).exp_().sum(1)
        self.total[part] = self.total[part] * (before - top).exp() + exps
        self.top[part] = top

    def _keep_largest(self, part: slice, z: Tensor, first: int) -> None:
        """Merges the k largest logits of a tile into the running ones. Equal logits stay in the order of their ids."""
        values, ids, k = self.values[part], self.ids[part], self.values.shape[1]
        found, at = largest(z, min(k, z.shape[1]))
        at = at + first
        if on_host(z):  # many rows keep what they have
            better = found[:, 0] > values[:, -1]  # not if equal: earlier entries have lower ids
            rows = better.nonzero()[:, 0]
            values[rows], ids[rows] = _merged(values[rows], ids[rows], found[rows], at[rows])
        else:
            values[:], ids[:] = _merged(values, ids, found, at)

    def lse(self, part: slice) -> Tensor:
        """[n] log-sum-exp of the entries that were seen."""
        return self.total[part].log() + self.top[part]

    def result(self, entries: int) -> TopKCrossEntropy:
        """The result, after the last tile."""
        logs, shift = self.total.log(), self.first_moment / entries
        return TopKCrossEntropy(
            nll=logs + (self.top - self.picked),
            values=self.values,
            ids=self.ids,
            lse=logs + self.top,
            mean=self.center + shift,
            var=(self.second_moment / entries - shift.square()).clamp_min_(0),
        )


def _merged(values: Tensor, ids: Tensor, found: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """The k largest [n, k] of the running `values` and of the logits `found` at later ids `at`, and their ids."""
    k = values.shape[1]
    both, order = torch.cat([values, found], 1).sort(dim=1, descending=True, stable=True)
    return both[:, :k], torch.cat([ids, at], 1).gather(1, order[:, :k])


def _factors(inputs: Inputs, at: slice) -> tuple[Tensor, Tensor | None]:
    """The weights [c, H] of the entries `at` as factors of a product, and their bias [c] in the dtype of the sums.

    On a CPU the weights are converted to the dtype of the sums here, once for all positions.
    """
    dtype = inputs.compute if inputs.weight.is_cuda else inputs.accumulate
    return inputs.weight[at].to(dtype), None if inputs.bias is None else inputs.bias[at].to(inputs.accumulate)


def _logits(hidden: Tensor, block: Tensor, bias: Tensor | None, options: Options, dtype: torch.dtype) -> Tensor:
    """The logits [n, c] of n rows `hidden` [n, H] at c entries with the weights `block` [c, H], in `dtype`."""
    u = product(hidden.to(block.dtype), block.T, dtype)
    return options.logits_(u if bias is None else u.add_(bias))
