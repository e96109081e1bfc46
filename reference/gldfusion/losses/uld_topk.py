"""Universal logit distillation on standardised top-k logits, as in InfiFusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from gldfusion.losses.options import check_options
from gldfusion.losses.uld import Uld
from gldfusion.signals import PivotSignal, Signal


@dataclass(frozen=True)
class UldTopk:
    """ULD on the k largest logits of each position, after these logits are standardised (InfiFusion).

    The loss is `uld` with other defaults. One unit is a paired position.

    We could read only the abstract of InfiFusion. It names both steps, but it gives neither k nor the logits over which
    mean and standard deviation are taken. We take them over the kept k; `standardize: vocabulary` is the other reading.
    A recipe with several sources is InfiFusion's "unified" fusion. Its "pairwise" fusion distils each source alone and
    merges the results.

    Attributes:
        k: Compare the k largest logits only. None compares all kept logits, that is the recipe's k.
        temperature: tau > 0, by which the logits are divided. A larger tau flattens both distributions.
        standardize: Over which logits the mean and the population standard deviation are taken.
            "topk": the kept k.
            "vocabulary": all logits of the vocabulary.
    """

    k: int | None = None
    temperature: float = 1.0
    standardize: Literal["topk", "vocabulary"] = "topk"

    citation: ClassVar[str] = "InfiFusion (arXiv 2501.02795), on ULD (arXiv 2402.12030)"
    formula: ClassVar[str] = "sum_(t,s) sum_(i<=k) |softmax(y_t/tau)_(i) - softmax(y^s_s/tau)_(i)|, y = (z - mean)/std"
    needs_source: ClassVar[bool] = True
    same_vocabulary: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needs(self) -> frozenset[str]:
        """See `Loss.needs`."""
        return self._uld().needs

    def __call__(self, pivot: PivotSignal, source: Signal | None, pairs: Tensor | None) -> Tensor:
        """The sum over the paired positions; see `Loss.__call__`."""
        return self._uld()(pivot, source, pairs)

    def count(self, pivot_mask: Tensor, source_mask: Tensor | None, pairs: Tensor | None) -> int:
        """The number of pairs that join two unmasked positions; see `Loss.count`."""
        return self._uld().count(pivot_mask, source_mask, pairs)

    def _uld(self) -> Uld:
        return Uld(self.temperature, self.standardize, self.k)
