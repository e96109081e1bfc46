"""Measures what a model does to its logits after its output layer, and compares our signals with the model's logits.

Configurations give these factors and caps many names, so nothing is read from them. In one forward pass the output
layer is replaced by chosen numbers u, and the logits z that the model makes of them show the function. Then signals and
logits are compared on a few random tokens. Whatever a model does that we do not follow is therefore refused at load.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gldfusion.errors import InputError
from gldfusion.inputs import Inputs
from gldfusion.reading import plain_line
from gldfusion.signals import PivotSignal

TOKENS, SHARED = 12, 7
"""length of the texts of the probe, and the number of tokens with which all of them begin"""
LEAST = 1e-4
"""largest accepted difference in float32, as a share of the largest logit"""
LEAST_POWER, MOST_POWER = -40, 20
"""the chosen outputs of the output layer are the powers of two with exponents from -40 to 20, with both signs"""
_SPECIAL = re.compile("token|_ids?$|index")
"""settings of a configuration whose numbers are ids of special tokens: of images, of padding"""


@dataclass(frozen=True)
class AfterHead:
    """The logits are z = c tanh(scale u / c), with the output u of the output layer."""

    entries: int
    """number of logits per position. Later rows of the output layer are padding, and the model removes them"""
    scale: float = 1.0
    softcap: float | None = None
    """the cap c. None: no cap, z = scale u"""

    def logits(self, product: Tensor) -> Tensor:
        """z [..., entries] from `product` = u [..., V]."""
        scaled = product[..., : self.entries] * self.scale
        return scaled if self.softcap is None else self.softcap * (scaled / self.softcap).tanh()


class Signals(Protocol):
    """What the probe compares with a model: a `model.SignalModel`."""

    model: PreTrainedModel
    vocabulary: int
    k: int

    def __call__(self, inputs: Inputs) -> PivotSignal:
        """The signals of a batch."""
        ...


def output_layer(model: PreTrainedModel) -> nn.Linear:
    """The output layer of a model.

    Raises:
        InputError: it has none, or one that is not a matrix [V, H], or its weights were not loaded.
    """
    head: Any = model.get_output_embeddings()
    if not isinstance(getattr(head, "weight", None), Tensor) or head.weight.ndim != 2:
        raise _refused(model, "it has no output layer that is one matrix")
    if head.weight.is_meta:
        raise _refused(model, "the weights of its output layer lie on the meta device, so they hold no numbers")
    return head


@contextmanager
def replaced(head: nn.Module, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Lets `function` compute the output of a module from its input while the context is open."""
    own = vars(head).get("forward")  # set by the hooks of accelerate
    head.forward = function
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def hidden_states(model: PreTrainedModel, **arguments: Tensor) -> Tensor:
    """What the output layer reads: [B, L, H]. The output layer itself is not computed.

    The whole model runs, so everything that lies between its base model and its output layer is included.

    Args:
        model: the model.
        arguments: input_ids [B, L] and other arguments of the model.
    """
    head, read = output_layer(model), list[Tensor]()

    def keep(hidden: Tensor) -> Tensor:
        read.append(hidden)
        return hidden.new_zeros(*hidden.shape[:-2], 0, head.weight.shape[0])  # the logits of no position

    with replaced(head, keep):
        model(**arguments, use_cache=False)
    return read[0]


def measure(model: PreTrainedModel) -> AfterHead:
    """Finds out what a model does to its logits after its output layer.

    The smallest of the chosen numbers show the scale, the largest the cap, and all of them are compared with the
    result. They are float64, so the precision of the weights does not matter.

    Raises:
        InputError: the model cannot be run, runs its output layer more or less than once, or does something else.
    """
    head, given = output_layer(model), list[Tensor]()

    def choose(hidden: Tensor) -> Tensor:
        powers = torch.arange(LEAST_POWER, MOST_POWER + 1.0, dtype=torch.float64, device=hidden.device).exp2()
        shape = (*hidden.shape[:-1], head.weight.shape[0])
        size = math.prod(shape)
        given.append(torch.cat([powers, -powers]).repeat(1 + size // (2 * len(powers)))[:size].view(shape))
        return given[-1]

    with _still(model), replaced(head, choose):
        logits = model(input_ids=_texts(model).input_ids[:1], use_cache=False).logits
    if len(given) != 1 or given[0].shape[:-1] != logits.shape[:-1]:
        raise _refused(model, f"it runs its output layer {len(given)} times, or not once for every position")
    u, z = given[0][..., : logits.shape[-1]].flatten(), logits.to(given[0]).flatten()
    least, most = u.abs().argmin(), u.argmax()
    scale, end = float(z[least] / u[least]), float(z[most])
    if not 0 < scale < math.inf:
        raise _refused(model, f"it makes {float(z[least]):.3g} of the output {float(u[least]):.3g} of its output layer")
    found = AfterHead(logits.shape[-1], scale, end if end < scale * float(u[most]) / 2 else None)
    expected = found.logits(given[0]).flatten()
    wrong = ((z - expected) / expected).abs()
    if not float(wrong.max()) <= tolerance(logits.dtype):
        at = int(wrong.argmax())
        raise _refused(
            model,
            f"it makes {float(z[at]):.6g} of the output {float(u[at]):.6g} of its output layer, "
            f"where a scale and a cap alone would give {float(expected[at]):.6g}",
        )
    return found


def require_causal(model: PreTrainedModel) -> None:
    """Checks that no logit of a model depends on a later token.

    Raises:
        InputError: one does, because attention sees the tokens that are to be predicted; or the model cannot be run.
    """
    _causal_logits(model, _texts(model))


def require_own_logits(signals: Signals) -> None:
    """Checks that signals are what a model's own logits give, and that no logit depends on a later token.

    Raises:
        InputError: they differ by more than `tolerance`. The message names the class of the model and the difference.
    """
    model = signals.model
    texts = _texts(model)
    texts = replace(texts, labels=texts.labels % signals.vocabulary)
    logits = _causal_logits(model, texts)[texts.mask]
    with _still(model):
        found = signals(texts).map(lambda field: field[texts.mask])
    values, ids, lse = found.values.float(), found.need("ids"), found.need("lse").float()
    label = logits.gather(-1, texts.labels[texts.mask][:, None])[:, 0]
    differences = {
        "their largest values": values - logits.topk(signals.k).values,
        "the values of the kept ids": values - logits.gather(-1, ids),
        "their log-sum-exp": lse - logits.logsumexp(-1),
        "their mean": found.need("mean") - logits.mean(-1),
        "their standard deviation": found.need("std") - logits.std(-1, correction=0),
        "the logit of the label": lse - found.nll - label,
    } | ({} if found.logits is None else {"all logits": found.logits - logits})
    largest = float(logits.abs().max())
    sizes = {what: float(difference.abs().max()) / largest for what, difference in differences.items()}
    what = max(sizes, key=lambda name: sizes[name])
    if not sizes[what] <= tolerance(_dtype(model)):
        raise _refused(
            model,
            f"{what} as we compute them differ from the model's own logits by {sizes[what]:.2g} of the largest logit "
            f"(accepted: {tolerance(_dtype(model)):.2g})",
        )


def tolerance(dtype: torch.dtype) -> float:
    """The largest accepted difference between two computations of a logit, as a share of the largest logit.

    A model in half precision rounds its logits, and rounds them again after a scale and a cap, while our kernels
    multiply in float32. Each rounding changes a logit by at most eps / 2 of it, so 2 eps allow for four of them: 1.6 %
    in bfloat16 and .2 % in float16.
    """
    return max(LEAST, 2 * torch.finfo(dtype).eps) if dtype.is_floating_point else LEAST


def _dtype(model: PreTrainedModel) -> torch.dtype:
    return output_layer(model).weight.dtype


def _causal_logits(model: PreTrainedModel, texts: Inputs) -> Tensor:
    """The logits [3, L, V] of `_texts`, as float32, after the check that later tokens and padding do not change them.

    Raises:
        InputError: they do, or a logit is infinite or NaN, or the model cannot be run.
    """
    with _still(model):
        logits = _logits(model, texts).float()
    if not logits[texts.mask].isfinite().all():
        raise _refused(model, "its logits are infinite or NaN (float16 can overflow where bfloat16 does not)")
    largest = float(logits[texts.mask].abs().max())
    for row, what in ((1, "later tokens"), (2, "padding after a text")):
        change = float((logits[row, :SHARED] - logits[0, :SHARED]).abs().max())
        if change > tolerance(_dtype(model)) * largest:
            raise _refused(
                model,
                f"other {what} change a logit by {change / largest:.2g} of the largest logit, so attention sees what "
                "is to be predicted",
                "if the class can be a decoder, set is_decoder: true in config.json, else take a causal language model",
            )
    return logits


def _texts(model: PreTrainedModel) -> Inputs:
    """Three texts that begin with the same tokens: one, one with another end, and one with padding instead of an end.

    The tokens are drawn at random from those that the configuration does not name: no images, no padding.
    """
    rows = output_layer(model).weight.shape[0]
    embedding: Any = model.get_input_embeddings()
    rows = min(rows, getattr(getattr(embedding, "weight", None), "shape", [rows])[0])
    named = set(_named(model.config.to_dict()))
    plain = torch.tensor([i for i in range(min(rows, 10_000)) if i not in named] or list(range(rows)))
    picked = plain[torch.randint(len(plain), (4 * TOKENS,), generator=torch.Generator().manual_seed(0))]
    whole, other, labels = picked[:TOKENS], picked[TOKENS : 2 * TOKENS], picked[2 * TOKENS :]
    ids = torch.stack([whole, torch.cat([whole[:SHARED], other[SHARED:]]), whole])
    mask = torch.ones_like(ids, dtype=torch.bool)
    ids[2, SHARED:], mask[2, SHARED:] = 0, False
    texts = Inputs(
        input_ids=ids,
        attention_mask=mask.long(),
        positions=torch.arange(TOKENS).expand(3, TOKENS),
        labels=labels[:TOKENS].expand(3, TOKENS),
        mask=mask,
    )
    return texts.to(output_layer(model).weight.device)


def _named(settings: Any) -> Iterator[int]:
    """The ids of special tokens in a configuration and in the configurations inside it."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _named(value)
        elif _SPECIAL.search(str(name)):
            yield from (i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))


def _logits(model: PreTrainedModel, texts: Inputs) -> Tensor:
    """The model's own logits, in float32."""
    return model(input_ids=texts.input_ids, attention_mask=texts.attention_mask, use_cache=False).logits


@contextmanager
def _still(model: PreTrainedModel) -> Iterator[None]:
    """Runs a model without gradient and dropout. Its modes and the state of random generators stay as they were.

    Raises:
        InputError: the model raised an error. Models raise errors of many classes.
    """
    training = [module for module in model.modules() if module.training]
    device = output_layer(model).weight.device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            torch.manual_seed(0)
            model.eval()
            yield
    except InputError:
        raise
    except Exception as error:
        problem = f"it cannot be run on tokens alone ({type(error).__name__}: {plain_line(error)})"
        raise _refused(model, problem) from error
    finally:
        for module in training:
            module.training = True


def _refused(model: PreTrainedModel, problem: str, mend: str = "") -> InputError:
    where = f" in {model.name_or_path}" if model.name_or_path else ""
    return InputError(
        f"cannot use the model {type(model).__name__}{where}\n{problem}\n"
        f"{mend or 'use another model, or report its class so that it can be supported'}"
    )
