"""Small batches for the checks: whole sequences with unshifted logits. A loss with a known bug fails on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

VOCABULARY = 12
IGNORE = -100
Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Side:
    """One model on a batch, as a training framework holds it: padded on the right, and nothing is shifted."""

    logits: Tensor
    """[B, L, V] the output at each token, float64"""
    ids: Tensor
    """[B, L] token ids"""
    labels: Tensor
    """[B, L] the id of each token that is to be predicted (by the output at the token before it), else -100"""
    offsets: Tensor
    """[B, L, 2] the bytes of the response text that a labelled token covers; (n, n) for the end token at the end n of
    the text; (0, 0) for other tokens"""

    def map(self, function: Callable[[Tensor], Tensor]) -> Side:
        """Returns the side with `function` applied to its four tensors."""
        return Side(*(function(t) for t in (self.logits, self.ids, self.labels, self.offsets)))

    @property
    def predicting(self) -> Tensor:
        """Which outputs predict a label: [B, L] bool."""
        return torch.cat([self.labels[:, 1:] != IGNORE, torch.zeros(len(self.labels), 1, dtype=torch.bool)], 1)

    def widened(self, columns: int) -> Side:
        """Returns the side with more vocabulary entries, whose logits of -1e4 make them impossible."""
        return replace(self, logits=torch.nn.functional.pad(self.logits, (0, columns), value=-1e4))

    def lengthened(self, places: int) -> Side:
        """Returns the side with more padding after every sequence. The outputs there are random."""
        b, _, v = self.logits.shape
        more = Side(
            10 * torch.randn(b, places, v, dtype=self.logits.dtype, generator=torch.Generator().manual_seed(5)),
            torch.zeros(b, places, dtype=torch.long),
            torch.full((b, places), IGNORE),
            torch.zeros(b, places, 2, dtype=torch.long),
        )
        pairs = zip(vars(self).values(), vars(more).values(), strict=True)
        return Side(*(torch.cat(pair, 1) for pair in pairs))


@dataclass(frozen=True, eq=False)
class Case:
    """A batch, as pivot and source see it."""

    pivot: Side
    source: Side

    def rows(self, *rows: int) -> Case:
        """Returns the case with some of the sequences only."""
        return Case(*(side.map(lambda t: t[list(rows)]) for side in (self.pivot, self.source)))


@dataclass(frozen=True)
class Text:
    """One text in one tokenisation."""

    prompt: list[int]
    """ids of the prompt"""
    response: list[int]
    """ids of the response; the last is the end token"""
    spans: list[Span]
    """the bytes of the response text that each of these ids covers"""


OURS = (
    Text([9, 4, 7], [1, 5, 2, 8, 3, 11], [(0, 1), (1, 3), (3, 4), (4, 6), (6, 7), (7, 7)]),
    Text([4, 7], [6, 2, 11], [(0, 2), (2, 5), (5, 5)]),
    Text([1, 2, 3, 7], [8, 8, 1, 11], [(0, 1), (1, 2), (2, 4), (4, 4)]),
    Text([5, 7], [3, 2, 11], [(0, 1), (1, 3), (3, 3)]),
)
THEIRS = (
    Text([3, 5, 9, 7], [10, 2, 9, 11], [(0, 3), (3, 4), (4, 7), (7, 7)]),
    Text([3, 5, 7], [6, 4, 1, 11], [(0, 1), (1, 2), (2, 5), (5, 5)]),
    Text([3, 5, 1, 7], [2, 9, 11], [(0, 2), (2, 4), (4, 4)]),
    Text([3, 7], [4, 9, 11], [(0, 1), (1, 3), (3, 3)]),
)
"""the same four texts in another tokenisation. The last one is cut at the same bytes"""
PREFIX = [3, 10, 6]
"""ids of a BOS token and of the opening of a chat template"""


def model(seed: int) -> Tensor:
    """A causal model [V, V]: row i holds the logits after token i, whatever came before it."""
    return 2 * torch.randn(VOCABULARY, VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def side(texts: Sequence[Text], outputs: Tensor, prefix: Sequence[int] = ()) -> Side:
    """Runs a model on some texts.

    Args:
        texts: the texts.
        outputs: the model [V, V]; see `model`.
        prefix: ids to put before every prompt.
    """
    length = max(len(prefix) + len(t.prompt) + len(t.response) for t in texts)
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    labels, offsets = torch.full_like(ids, IGNORE), torch.zeros(*ids.shape, 2, dtype=torch.long)
    for row, text in enumerate(texts):
        first = len(prefix) + len(text.prompt)
        last = first + len(text.response)
        ids[row, :last] = torch.tensor([*prefix, *text.prompt, *text.response])
        labels[row, first:last] = ids[row, first:last]
        offsets[row, first:last] = torch.tensor(text.spans)
    return Side(outputs[ids], ids, labels, offsets)


def identical() -> Case:
    """Source and pivot are the same model on the same texts. Only the source's prompts begin with PREFIX."""
    return Case(side(OURS, model(7)), side(OURS, model(7), PREFIX))


def different(prefix: Sequence[int] = ()) -> Case:
    """Source and pivot are two models with two tokenisations. The source's prompts begin with `prefix`."""
    return Case(side(OURS, model(7)), side(THEIRS, model(8), prefix))
