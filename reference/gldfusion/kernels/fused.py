"""The autograd function: a forward pass over tiles of logits, and a backward pass that computes the tiles again.

Let u be the product and z(u) the logits of a row (see `output_layer.Options`), p = softmax(z), y the label, V the
number of vocabulary entries, and g the incoming gradients. The gradient of the row is

    dz = (g_nll + g_lse) p + g_var 2 (z - mean) / V + g_mean / V + scatter(g_values at ids) - g_nll onehot(y)
    du = dz * dz/du;   dX = du W,  dW = du^T X,  dbias = sum du

No tile needs another one. So the memory is one tile, O(N k) results, and the gradients themselves (accumulated in
float32). Two things save the second computation. If the forward pass has already prepared the softmax part (`early`),
the backward pass only adds the terms of single logits. Otherwise the forward pass may keep the logits of the first
positions (`kept.Kept`).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from gldfusion.errors import InputError
from gldfusion.kernels.arguments import Inputs, RowGradients, Use
from gldfusion.kernels.early import Early
from gldfusion.kernels.kept import Kept, gradient_of
from gldfusion.kernels.naive import TopKCrossEntropy
from gldfusion.kernels.output_layer import Options
from gldfusion.kernels.products import add_product, for_product


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
        self, inputs: Inputs, k: int, options: Options, wanted: tuple[bool, bool, bool], use: Use
    ) -> tuple[TopKCrossEntropy, Early | Kept | None]:
        """Runs the forward pass.

        Args:
            inputs: the tensors.
            k: number of logits to keep per position.
            options: the output layer.
            wanted: whether hidden, weight and bias will need gradients. This pass may prepare them.
            use: what is known of the incoming gradients.

        Returns:
            The result, in which `nll` may hold any value at ignored labels, and what helps the backward pass, if
            anything does.
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
            given: what the gradient needs of these rows, `folded`.
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
        use: Use = "any",
        factors: torch.dtype | None = None,
    ) -> tuple[Tensor, ...]:
        """The fields of `TopKCrossEntropy`.

        `training` says whether gradients may be needed; `arguments` explains `use` and `factors`.
        """
        wanted = ctx.needs_input_grad[:3] if training else (False, False, False)
        with torch.autocast(hidden.device.type, enabled=False):
            out, ctx.help = tiles.sweep(Inputs(hidden, weight, bias, labels, factors), k, options, wanted, use)
        out = out._replace(nll=out.nll.masked_fill(labels == options.ignore_index, 0))
        ctx.save_for_backward(hidden, weight, bias, labels, *out)
        ctx.options, ctx.tiles, ctx.factors = options, tiles, factors
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
        inputs, out = Inputs(hidden, weight, bias, labels, ctx.factors), TopKCrossEntropy(*saved)
        given = row_gradients(gradients, labels, out, ctx.options)
        prepared, ctx.help = ctx.help, None  # it is overwritten, so it serves one backward pass only
        with torch.autocast(hidden.device.type, enabled=False):
            if isinstance(prepared, Early) and prepared.serves(given):
                found = prepared.finish(inputs, given, single_slopes(gradients, out, ctx.options))
            else:
                kept = prepared if isinstance(prepared, Kept) else None
                del prepared  # frees the memory of sums that do not serve, before new gradients need as much
                found = accumulate(inputs, given, ctx.needs_input_grad[:3], ctx.options, ctx.tiles, kept)
                if kept is not None:
                    kept.release()
        return *found, *[None] * 7


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
    inputs: Inputs,
    given: RowGradients,
    wanted: tuple[bool, bool, bool],
    options: Options,
    tiles: Tiles,
    kept: Kept | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Computes tile after tile of du and adds it to the gradients.

    Args:
        inputs: the tensors.
        given: what the gradient needs of all rows.
        wanted: which of the three gradients to compute.
        options: the output layer.
        tiles: the implementation.
        kept: logits that the forward pass kept. They are overwritten.

    Returns:
        dX, dW and dbias, in the dtypes of hidden, weight and bias; None for those that are not wanted.
    """
    hidden, weight, bias = inputs[:3]
    dx = torch.zeros_like(hidden, dtype=inputs.accumulate) if wanted[0] else None
    dw = torch.zeros_like(weight) if wanted[1] else None  # the rows of padding stay 0
    db = torch.zeros_like(bias, dtype=inputs.accumulate) if bias is not None and wanted[2] else None
    given, signs = given.folded()
    signed = hidden * signs[:, None].to(hidden.dtype)  # du^T diag(signs) X
    for first in range(0, options.entries, tiles.columns):
        at = slice(first, min(first + tiles.columns, options.entries))
        block, offset = weight[at].to(inputs.compute), None if bias is None else bias[at].to(inputs.accumulate)
        dw_block = None if dw is None else dw[at] if dw.dtype == inputs.accumulate else dw[at].to(inputs.accumulate)
        for start in range(0, len(hidden), tiles.rows):
            part = slice(start, start + tiles.rows)
            x = hidden[part].to(inputs.compute)
            if kept is not None and kept.covers(slice(start, min(part.stop, len(hidden)))):
                du = gradient_of(kept.logits[part, at], first, given.rows(part), options)
            else:
                du = tiles.gradient(x, block, offset, first, given.rows(part), options)
            if db is not None:
                db[at] += (du * signs[part, None]).sum(0, dtype=db.dtype)
            du = for_product(du, inputs.compute)
            if dx is not None:
                add_product(dx[part], du, block)
            if dw_block is not None:
                add_product(dw_block, du.T, signed[part].to(inputs.compute))
        if dw is not None and dw_block is not None and dw_block.dtype != dw.dtype:
            dw[at] = dw_block
    return (
        None if dx is None else dx.mul_(signs[:, None]).to(hidden.dtype),
        dw,
        None if db is None or bias is None else db.to(bias.dtype),
    )
