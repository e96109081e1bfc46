"""Prepares the softmax part of the gradient in the forward pass, while the logits are in memory.

This takes three matrix products instead of four. Let S be the softmax of all rows times dz/du. The part of the gradient
that comes from nll and lse is

    dX = diag(g) (S W),  dW = S^T diag(g) X,  g = g_nll + g_lse

S W does not depend on g, and S^T diag(g) X needs g only up to a factor. A mean over the labelled positions sends the
same g to each of them and 0 to the others. So the forward pass computes S^T diag(labelled) X. The backward pass checks
whether g is of this form (`Early.serves`); otherwise it computes the tiles again. The terms of single logits (the label
and the top-k) are added row by row of W and X.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gldfusion.kernels.arguments import Inputs, RowGradients
from gldfusion.kernels.output_layer import Options


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
            self.dx[part].addmm_(softmax, block)
        if self.dw is not None:
            self.dw[at].addmm_(softmax.T, hidden)
        if self.db is not None:
            self.db[at] += self.labelled[part].to(softmax) @ softmax

    def serves(self, given: RowGradients) -> bool:
        """Whether the sums fit the incoming gradients.

        They do if g is one number at the labelled positions and 0 at the others, and mean and var have no gradient.
        """
        if given.soft is None or given.spread is not None or given.shift is not None:
            return False
        if self.dw is None and self.db is None:
            return True  # dX alone fits any g
        there = given.soft[self.labelled]
        rest = given.soft[~self.labelled]
        return len(there) > 0 and bool((there == there[0]).all()) and not bool(rest.any())

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
        factor = given.soft[self.labelled][:1]
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
        return self.dx, self.dw, None if self.db is None or inputs.bias is None else self.db.to(inputs.bias.dtype)
