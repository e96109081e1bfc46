"""The ways to make a fused checkpoint: `METHODS`. Each is one file, with its citation in its docstring."""

from __future__ import annotations

from gldbench.methods import dynamic_logits_fusion, fisher, merge, pairwise, sequence_kd, soup, train
from gldbench.methods.method import Method, refuse_unread_keys
from gldbench.protocol.arms import resolved_methods
from gldbench.spec import Spec
from gldfusion.errors import InputError, did_you_mean
from gldfusion.recipe import validate

METHODS: dict[str, Method] = {
    # this project: gldfusion, whose losses carry their own citations
    "train": train.METHOD,
    # Wortsman et al., Model soups (2022), arXiv:2203.05482
    "soup": soup.METHOD,
    # Goddard et al., Arcee's MergeKit (2024), arXiv:2403.13257
    "merge": merge.METHOD,
    # Matena and Raffel, Merging Models with Fisher-Weighted Averaging (2022), arXiv:2111.09832
    "fisher": fisher.METHOD,
    # Yan et al., InfiFusion (2025), arXiv:2501.02795
    "pairwise": pairwise.METHOD,
    # Kim and Rush, Sequence-Level Knowledge Distillation (2016), arXiv:1606.07947
    "sequence_kd": sequence_kd.METHOD,
    # Fan et al., On Giant's Shoulders: Effortless Weak to Strong by Dynamic Logits Fusion (2024), arXiv:2406.15480
    "dynamic_logits_fusion": dynamic_logits_fusion.METHOD,
}
"""by kind"""


def check_methods(spec: Spec) -> None:
    """Checks the kinds of all methods, their options, then their losses. Only the latter loads torch.

    Raises:
        InputError: names the method and what is wrong.
    """
    for name, method in spec.methods.items():
        if method.kind not in METHODS:
            raise InputError(
                f'methods.{name}.kind: there is no kind "{method.kind}"{did_you_mean(method.kind, METHODS)}\n'
                f"known: {', '.join(METHODS)}"
            )
    for name, method in resolved_methods(spec, {}).items():
        kind = METHODS[method.kind]
        refuse_unread_keys(name, method, kind.unread)
        validate(kind.options, method.options, f"methods.{name}.options")
        try:
            kind.check(spec, method)
        except InputError as error:
            raise InputError(f"methods.{name}: {error}") from None
    from gldfusion.losses import make_loss

    for name, method in spec.methods.items():
        for number, term in enumerate(method.terms):
            try:
                make_loss(term.loss, term.options)
            except InputError as error:
                raise InputError(f"methods.{name}.terms.{number}: {error}") from None
