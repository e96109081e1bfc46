"""The total loss of a recipe.

total loss = (1 - lambda) SFT + sum over sources w_s sum over terms weight * term
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast as Tokenizer

from gldfusion.data import Batch, Role
from gldfusion.errors import InputError
from gldfusion.losses import Choosing, Loss, make_loss
from gldfusion.losses.sft import Sft
from gldfusion.model import vocabulary_hash
from gldfusion.projection import projection
from gldfusion.recipe import Recipe
from gldfusion.signals import PivotSignal, Signal
from gldfusion.sources import SourceSignals
from gldfusion.vocab import vocabulary_map

TRANSLATED = frozenset({"mapped", "projected"})
"""what a loss can need of a source that is made with both tokenizers"""


@dataclass(frozen=True)
class Term:
    """One distillation loss, applied to one source."""

    name: str
    """<source>/<loss>, with a number if the recipe uses the loss more than once: a/gld, a/gld-2"""
    group: str
    """`name` without the source; the terms of one group differ only in their source"""
    source: str
    """name of the source"""
    weight: float
    """w_s times the weight of the term"""
    loss: Loss


def make_terms(recipe: Recipe) -> tuple[Term, ...]:
    """Combines every term of a recipe with every source, and leaves out those whose weight is 0.

    Raises:
        InputError: a loss or an option is unknown, or a loss does not compare with a source.
    """
    terms, seen = [], Counter[str]()
    for spec in recipe.terms:
        seen[spec.loss] += 1
        name = spec.loss if seen[spec.loss] == 1 else f"{spec.loss}-{seen[spec.loss]}"
        loss = make_loss(spec.loss, spec.options)
        if not loss.needs_source:
            raise InputError(f"{spec.loss} compares with no source\nremove it from the terms; its weight is 1 - lambda")
        terms += [
            Term(name=f"{s.name}/{name}", group=name, source=s.name, weight=s.weight * spec.weight, loss=loss)
            for s in recipe.sources
        ]
    return tuple(term for term in terms if term.weight > 0)


class TotalLoss:
    """The weighted terms of a recipe.

    The first term is always the cross-entropy on the labels (SFT), even if its weight is 0. So every parameter has a
    gradient in every step and process, which data parallelism requires.

    Attributes:
        terms: the distillation terms with a weight above 0.
        names: of all terms, "sft" first.
        needs: union of `Loss.needs` over the terms.
        tokens: source name -> the size of its vocabulary, for sources with the pivot's vocabulary. Ids from this one on
            are padding.
        pivot_tokens: the size of the pivot's vocabulary; None before `check`.
        maps: term name -> [V_s] the pivot's id for each id of the source, for terms that need a vocabulary map.
        projections: term name -> [V_s, m] pivot ids and their shares for each id of the source, for terms that need a
            projection (`projection.Projection`).
    """

    def __init__(self, recipe: Recipe) -> None:
        self.sft = Sft()
        self.sft_weight = 1.0 - recipe.lambda_
        self.terms = make_terms(recipe)
        self.names = ("sft", *(term.name for term in self.terms))
        self.needs = frozenset[str]().union(*(term.loss.needs for term in self.terms))
        self.maps: dict[str, Tensor] = {}
        self.projections: dict[str, tuple[Tensor, Tensor]] = {}
        self.tokens: dict[str, int] = {}
        self.pivot_tokens: int | None = None

    def check(self, sources: Sequence[SourceSignals], pivot_vocabulary: str, tokens: int) -> None:
        """Checks that every term can be computed on its source.

        Args:
            sources: all used sources.
            pivot_vocabulary: the pivot's `model.vocabulary_hash`.
            tokens: `model.vocabulary_size` of the pivot's tokenizer.

        Raises:
            InputError: a term compares logits entry by entry, but its source has another vocabulary than the pivot.
        """
        self.pivot_tokens = tokens
        vocabularies = {source.name: source.vocabulary_hash for source in sources}
        self.tokens = {name: tokens for name, vocabulary in vocabularies.items() if vocabulary == pivot_vocabulary}
        for term in self.terms:
            if term.loss.same_vocabulary and vocabularies[term.source] != pivot_vocabulary:
                raise InputError(
                    f"{term.name} compares logits entry by entry, but source {term.source} has another vocabulary "
                    "than the pivot\nuse a loss that works across vocabularies, such as uld or gld"
                )

    def translate(
        self, pivot: Tokenizer, tokenizers: Mapping[str, Tokenizer], sources: Sequence[SourceSignals]
    ) -> None:
        """Makes, or reads from disk, the vocabulary maps that the terms need.

        A source with the pivot's vocabulary needs no map.

        Args:
            pivot: the pivot's tokenizer.
            tokenizers: source name -> the source's tokenizer.
            sources: all used sources.
        """
        for term in self.terms:
            source = next(source for source in sources if source.name == term.source)
            if source.vocabulary_hash == vocabulary_hash(pivot):
                continue
            tokenizer, needs = tokenizers[term.source], term.loss.needs
            if "projected" in needs:
                self.projections[term.name] = projection(pivot, tokenizer).tables(source.vocabulary)
            if "mapped" in needs:
                strategy = getattr(term.loss, "map")  # noqa: B009
                by_projection = strategy == "projection"
                found = projection(pivot, tokenizer) if by_projection else vocabulary_map(pivot, tokenizer, strategy)
                self.maps[term.name] = found.table(source.vocabulary)

    @property
    def translates(self) -> bool:
        """Whether a term needs tokens of one vocabulary named in another, so that `translate` must be called."""
        return bool(TRANSLATED & self.needs)

    def counts(self, batches: Sequence[Batch]) -> Tensor:
        """The number of units of each term in these batches, [terms] in the order of `names`."""
        return torch.tensor([self._counts(batch) for batch in batches], dtype=torch.float64).sum(0)

    def _counts(self, batch: Batch) -> list[int]:
        mask, sources = batch.inputs.mask, batch.sources
        if batch.role == "labels":
            return [self.sft.count(mask), *(0 for _ in self.terms)]
        others = [term.loss.count(mask, sources[term.source][0].mask, sources[term.source][1]) for term in self.terms]
        return [self.sft.count(mask) if batch.role == "all" else 0, *others]

    def values(
        self,
        pivot: PivotSignal,
        sources: Mapping[str, tuple[Signal, Tensor]],
        counts: Tensor,
        role: Role = "all",
    ) -> list[Tensor]:
        """The weighted terms of one micro-batch, each divided by its number of units in the whole step.

        Args:
            pivot: the pivot's signal.
            sources: source name -> (signal, pairs).
            counts: [terms] units of each term in the whole step, in the order of `names`.
            role: which terms read the batch; the others are 0 (`data.Batch.role`).

        Returns:
            Scalars in the order of `names`. A term without units in the step is 0 and has no gradient.
        """
        units = counts.tolist()
        weight = self.sft_weight if role != "sources" else 0.0
        out = [weight * self.sft(pivot) / max(units[0], 1.0)]
        if role == "labels":
            return [*out, *(out[0].new_zeros(()) for _ in self.terms)]
        read = {
            term.name: (self._translated(term, sources[term.source][0]), sources[term.source][1]) for term in self.terms
        }
        shares = self._shares(pivot, read)
        for term, n in zip(self.terms, units[1:], strict=True):
            if not n:
                out.append(out[0].new_zeros(()))
            elif isinstance(term.loss, Choosing):
                out.append(term.weight * term.loss.weighed(pivot, *read[term.name], shares[term.name]) / n)
            else:
                out.append(term.weight * term.loss(self._marked(term, pivot), *read[term.name]) / n)
        return out

    def _marked(self, term: Term, pivot: PivotSignal) -> PivotSignal:
        """The pivot's signal. If the term needs "shared", `mapped` tells which ids have a token of the source."""
        if "shared" not in term.loss.needs:
            return pivot
        ids = pivot.need("ids")
        if term.name not in self.maps:
            return replace(pivot, mapped=torch.where(ids < self.tokens[term.source], ids, -1))
        table, size = self.maps[term.name].to(ids.device), pivot.vocabulary
        shared = torch.zeros(size + 1, dtype=torch.bool, device=ids.device)
        shared.scatter_(0, torch.where(table >= 0, table, size), True)
        return replace(pivot, mapped=torch.where(shared[ids], ids, -1))

    def _translated(self, term: Term, signal: Signal) -> Signal:
        """Names the source's ids in the pivot's vocabulary, if the term needs that; -1 names an id without a token.

        Losses between different vocabularies read the names in `mapped` or `projected`, the others in `ids`.
        """
        needs = term.loss.needs
        if not TRANSLATED & needs and not term.loss.same_vocabulary:
            return signal
        ids = signal.need("ids")
        if term.name in self.projections:
            given = [table.to(ids.device)[ids].flatten(-2) for table in self.projections[term.name]]
            return replace(signal, projected=given[0], shares=given[1])
        if term.name in self.maps:
            return replace(signal, mapped=self.maps[term.name].to(ids.device)[ids])
        named = torch.where(ids < self.tokens[term.source], ids, -1)
        if "projected" in needs:
            return replace(signal, projected=named, shares=(named >= 0).to(signal.values.dtype))
        return replace(signal, mapped=named) if "mapped" in needs else replace(signal, ids=named)

    def _shares(self, pivot: PivotSignal, read: Mapping[str, tuple[Signal, Tensor]]) -> dict[str, Tensor]:
        """For each term whose loss is `Choosing`: term name -> the share [B] of its source in each sequence."""
        shares: dict[str, Tensor] = {}
        pivot = replace(pivot, tokens=self.pivot_tokens)
        for group in {term.group for term in self.terms if isinstance(term.loss, Choosing)}:
            terms = [term for term in self.terms if term.group == group]
            loss = terms[0].loss
            assert isinstance(loss, Choosing)
            scores = torch.stack([loss.scores(pivot, *read[term.name]) for term in terms])
            shares |= zip([term.name for term in terms], loss.shares(scores), strict=True)
        return shares
