"""Prepares the softmax part of the gradient in the forward pass, while the logits are in memory.

This takes three matrix products instead of four. Let S be the softmax of all rows times dz/du. The part of the gradient
that comes from nll and lse is

    dX = diag(g) (S W),  dW = S^T diag(g) X,  g = g_nll + g_lse

S W does not depend on g, and S^T diag(g) X needs g only up to a factor. A mean over the labelled positions sends the
same g to each of them and 0 to the others. So the forward pass computes S^T diag(labelled) X, if the caller promises
such a g (`arguments.Use`). The backward pass checks it (`Early.serves`); otherwise it computes the tiles again. The
terms of single logits (the label and the top-k) are added row by row of W and X.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gldfusion.kernels.arguments import Inputs, RowGradients
from gldfusion.kernels.largest import on_host
from gldfusion.kernels.output_layer import Options
from gldfusion.kernels.products import add_product


@dataclass
class Early:
    """Sums of the forward pass. `finish` turns them into the gradients in place, so they can be used once only."""

    labelled: Tensor
    """[N] bool, False where the label is ignored"""
    dx: Tensor | None
    """[N, H] S W"""
    dw: Tensor | None
    """[V or more, H] S^T diag(labelled) X"""
    db: Tensor | None
    """[V or more] S^T labelled"""

    @classmethod
    def empty(cls, inputs: Inputs, wanted: tuple[bool, bool, bool], options: Options) -> Early:
        """Sums of 0, for the gradients that are wanted."""
        given = (inputs.hidden, inputs.weight, inputs.bias)
        zeros = [
            torch.zeros_like(t, dtype=inputs.accumulate) if w and t is not None else None
            for w, t in zip(wanted, given, strict=True)
        ]
        return cls(inputs.labels != options.ignore_index, *zeros)

    def add(self, part: slice, at: slice, softmax: Tensor, hidden: Tensor, block: Tensor) -> None:
        """Adds a tile.

        Args:
            part: the n positions of the tile.
            at: its c vocabulary entries.
            softmax: S [n, c].
            hidden: [n, H], with 0 at unlabelled positions.
            block: weights [c, H] of the entries.
        """
        if self.dx is not None:
            add_product(self.dx[part], softmax, block)
        if self.dw is not None:
            add_product(self.dw[at], softmax.T, hidden)
        if self.db is not None:
            self.db[at] += (softmax * self.labelled[part, None]).sum(0, dtype=self.db.dtype)

    def serves(self, given: RowGradients) -> bool:
        """Whether the sums fit the incoming gradients.

        They do if g is one number at the labelled positions and 0 at the others, and mean and var have no gradient. On
        a device, the first is not read but asserted, because the caller has promised it (`arguments.Use`).
        """
        if given.soft is None or given.spread is not None or given.shift is not None or not len(given.soft):
            return False
        if self.dw is None and self.db is None:
            return True  # dX alone fits any g
        least, most = self._range(given.soft)
        fits = (least == most) & (given.soft.masked_fill(self.labelled, 0) == 0).all()
        if on_host(fits):
            return bool(fits)
        torch._assert_async(fits | ~self.labelled.any())  # pyright: ignore[reportPrivateImportUsage]
        return True

    def _range(self, soft: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest g at the labelled positions."""
        return (
            soft.masked_fill(~self.labelled, torch.inf).amin(0, keepdim=True),
            soft.masked_fill(~self.labelled, -torch.inf).amax(0, keepdim=True),
        )

    def finish(
        self, inputs: Inputs, given: RowGradients, slopes: Tensor | float
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Turns the sums into dX, dW and dbias, in place.

        Args:
            inputs: the tensors of the forward pass.
            given: the incoming gradients, for which `serves` is true.
            slopes: dz/du [N, m] at the single logits of `given`.
        """
        assert given.soft is not None
        factor = self._range(given.soft)[1].nan_to_num(0.0, 0.0, 0.0)  # infinite if no position is labelled
        amounts = given.amounts * slopes
        real = given.columns.clamp(0, len(inputs.weight) - 1)  # an ignored label is no id, but its amount is 0
        if self.dx is not None:
            self.dx.mul_(given.soft[:, None])
        if self.dw is not None:
            self.dw.mul_(factor)
        if self.db is not None:
            self.db.mul_(factor).index_add_(0, real.flatten(), amounts.flatten())
        for column, amount in zip(real.unbind(1), amounts.unbind(1), strict=True):
            if self.dx is not None:
                self.dx.addcmul_(inputs.weight[column].to(amount), amount[:, None])
            if self.dw is not None:
                self.dw.index_add_(0, column, inputs.hidden.to(amount) * amount[:, None])
        return (
            None if self.dx is None else self.dx.to(inputs.hidden.dtype),
            None if self.dw is None else self.dw.to(inputs.weight.dtype),
            None if self.db is None or inputs.bias is None else self.db.to(inputs.bias.dtype),
        )
