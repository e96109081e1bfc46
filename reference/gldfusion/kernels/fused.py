"""The autograd function: a forward pass over tiles of logits, and a backward pass that computes the tiles again.

Let u be the product and z(u) the logits of a row (see `output_layer.Options`), p = softmax(z), y the label, V the
number of vocabulary entries, and g the incoming gradients. The gradient of the row is

    dz = (g_nll + g_lse) p + g_var 2 (z - mean) / V + g_mean / V + scatter(g_values at ids) - g_nll onehot(y)
    du = dz * dz/du;   dX = du W,  dW = du^T X,  dbias = sum du

No tile needs another one. So the memory is one tile, O(N k) results, and the gradients themselves (accumulated in
float32). If the forward pass has already prepared the softmax part (`early`), the backward pass only adds the terms of
single logits.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.kernels.arguments import Inputs, RowGradients
from gldfusion.kernels.early import Early
from gldfusion.kernels.naive import TopKCrossEntropy
from gldfusion.kernels.output_layer import Options


class Tiles(Protocol):
    """An implementation that computes tiles of logits."""

    @property
    def rows(self) -> int:
        """The number of positions in a tile of the backward pass."""
        ...

    @property
    def columns(self) -> int:
        """The number of vocabulary entries in a tile of the backward pass."""
        ...

    def sweep(
        self, inputs: Inputs, k: int, options: Options, wanted: tuple[bool, bool, bool]
    ) -> tuple[TopKCrossEntropy, Early | None]:
        """Runs the forward pass.

        Args:
            inputs: the tensors.
            k: number of logits to keep per position.
            options: the output layer.
            wanted: whether hidden, weight and bias will need gradients. This pass may prepare them.

        Returns:
            The result, in which `nll` may hold any value at ignored labels, and the prepared gradients, if there are
            any.
        """
        ...

    def gradient(
        self, hidden: Tensor, block: Tensor, bias: Tensor | None, first: int, given: RowGradients, options: Options
    ) -> Tensor:
        """Computes a tile of du.

        Args:
            hidden: n rows [n, H], in the dtype `Inputs.compute`.
            block: weights [c, H] of c vocabulary entries, in the same dtype.
            bias: [c], in the dtype `Inputs.accumulate`, or None.
            first: id of the first of these entries.
            given: what the gradient needs of these rows.
            options: the output layer.

        Returns:
            [n, c], in the dtype of the factors or in a wider one.
        """
        ...


class FusedTopK(torch.autograd.Function):
    """`topk_cross_entropy` with any implementation of `Tiles`. It can be differentiated once."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        k: int,
        options: Options,
        tiles: Tiles,
        training: bool,
    ) -> tuple[Tensor, ...]:
        """The fields of `TopKCrossEntropy`. `training`: whether gradients may be needed."""
        wanted = ctx.needs_input_grad[:3] if training else (False, False, False)
        with torch.autocast(hidden.device.type, enabled=False):
            out, ctx.early = tiles.sweep(Inputs(hidden, weight, bias, labels), k, options, wanted)
        out = out._replace(nll=out.nll.masked_fill(labels == options.ignore_index, 0))
        ctx.save_for_backward(hidden, weight, bias, labels, *out)
        ctx.options, ctx.tiles = options, tiles
        ctx.mark_non_differentiable(out.ids)
        ctx.set_materialize_grads(False)
        return tuple(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of the arguments of `forward`, from those of its results."""
        if torch.is_grad_enabled():
            raise InputError(
                "topk_cross_entropy can be differentiated once, but create_graph=True asks for a second derivative\n"
                'use impl="naive" for second derivatives'
            )
        hidden, weight, bias, labels, *saved = ctx.saved_tensors
        inputs, out = Inputs(hidden, weight, bias, labels), TopKCrossEntropy(*saved)
        given = row_gradients(gradients, labels, out, ctx.options)
        early, ctx.early = ctx.early, None  # its sums become the gradients, so it serves one backward pass only
        with torch.autocast(hidden.device.type, enabled=False):
            if early is not None and early.serves(given):
                found = early.finish(inputs, given, single_slopes(gradients, out, ctx.options))
            else:
                del early  # frees its memory before new gradients need as much
                found = accumulate(inputs, given, ctx.needs_input_grad[:3], ctx.options, ctx.tiles)
        return *found, None, None, None, None, None


def row_gradients(
    gradients: tuple[Tensor | None, ...], labels: Tensor, out: TopKCrossEntropy, options: Options
) -> RowGradients:
    """Sorts the incoming gradients by the factors of the equation in the module docstring.

    Args:
        gradients: one for each field of `TopKCrossEntropy`, in its order; None if no gradient came.
        labels: [N].
        out: the result of the forward pass.
        options: the output layer.
    """
    nll, values, _, g_lse, g_mean, g_var = gradients
    soft, columns, amounts = g_lse, [], []
    if nll is not None:
        nll = nll.masked_fill(labels == options.ignore_index, 0)
        soft = nll if soft is None else soft + nll
        columns.append(labels[:, None])
        amounts.append(-nll[:, None])
    if values is not None:
        columns.append(out.ids)
        amounts.append(values)
    return RowGradients(
        soft=soft,
        lse=out.lse,
        spread=None if g_var is None else g_var * (2 / options.entries),
        mean=out.mean,
        shift=None if g_mean is None else g_mean / options.entries,
        columns=torch.cat(columns, 1) if columns else out.ids[:, :0],
        amounts=torch.cat(amounts, 1) if amounts else out.lse.new_zeros(len(labels), 0),
    )


def single_slopes(gradients: tuple[Tensor | None, ...], out: TopKCrossEntropy, options: Options) -> Tensor | float:
    """dz/du [N, m] at the single logits of `row_gradients`, in its order: the label, then the k largest."""
    logits = [(out.lse - out.nll)[:, None]] if gradients[0] is not None else []
    logits += [out.values] if gradients[1] is not None else []
    return options.slope(torch.cat(logits, 1)) if logits else 1.0


def accumulate(
    inputs: Inputs, given: RowGradients, wanted: tuple[bool, bool, bool], options: Options, tiles: Tiles
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Computes tile after tile of du and adds it to the gradients.

    Args:
        inputs: the tensors.
        given: what the gradient needs of all rows.
        wanted: which of the three gradients to compute.
        options: the output layer.
        tiles: the implementation.

    Returns:
        dX, dW and dbias, in the dtypes of hidden, weight and bias; None for those that are not wanted.
    """
    hidden, weight, bias, _ = inputs
    dx = torch.zeros_like(hidden, dtype=inputs.accumulate) if wanted[0] else None
    dw = torch.zeros_like(weight) if wanted[1] else None  # the rows of padding stay 0
    db = torch.zeros_like(bias, dtype=inputs.accumulate) if bias is not None and wanted[2] else None
    for first in range(0, options.entries, tiles.columns):
        at = slice(first, min(first + tiles.columns, options.entries))
        block, offset = weight[at].to(inputs.compute), None if bias is None else bias[at].to(inputs.accumulate)
        dw_block = None if dw is None else dw[at] if dw.dtype == inputs.accumulate else dw[at].to(inputs.accumulate)
        for start in range(0, len(hidden), tiles.rows):
            part = slice(start, start + tiles.rows)
            x = hidden[part].to(inputs.compute)
            du = tiles.gradient(x, block, offset, first, given.rows(part), options)
            if dx is not None:
                add_product(dx[part], du, block)
            if dw_block is not None:
                add_product(dw_block, du.T, x)
            if db is not None:
                db[at] += du.sum(0, dtype=db.dtype)
        if dw is not None and dw_block is not None and dw_block.dtype != dw.dtype:
            dw[at] = dw_block
    return (
        None if dx is None else dx.to(hidden.dtype),
        dw,
        None if db is None or bias is None else db.to(bias.dtype),
    )


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a b, in the dtype of `out`. On CUDA, tensor cores multiply half-precision factors."""
    if a.dtype == b.dtype == out.dtype:
        out.addmm_(a, b)
    elif out.is_cuda:
        torch.addmm(out, a, b.to(a.dtype), out_dtype=out.dtype, out=out)
    else:
        out.addmm_(a.to(out.dtype), b.to(out.dtype))
