"""The entry point to the kernels: checks the arguments and chooses an implementation."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Literal, cast

import torch
from torch import Tensor

from gldfusion.errors import InputError, did_you_mean
from gldfusion.kernels.arguments import Use
from gldfusion.kernels.chunked import Chunked
from gldfusion.kernels.fused import FusedTopK, Tiles
from gldfusion.kernels.largest import on_host
from gldfusion.kernels.naive import TopKCrossEntropy, naive
from gldfusion.kernels.output_layer import MAX_TRITON_K, Options
from gldfusion.kernels.products import autocast_factors
from gldfusion.kernels.scratch import Scratch

Implementation = Literal["auto", "naive", "chunked", "triton"]
IMPLEMENTATIONS = ("auto", "naive", "chunked", "triton")
HOPPER = 9
"""the major compute capability of H100 and H200"""
ONE_TILE = Chunked.rows * Chunked.columns
"""number of logits in one tile. Up to this number, keeping all logits takes no more memory than a tile"""


def topk_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    k: int,
    *,
    ignore_index: int = -100,
    bias: Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
    vocab_size: int | None = None,
    impl: Implementation = "auto",
    use: Use = "any",
    scratch: Scratch | None = None,
) -> TopKCrossEntropy:
    """Computes the label loss, the top-k logits and vocabulary statistics of logits = hidden weight^T + bias.

    Nothing is shifted here: row i of `hidden` is the state that predicts `labels[i]`. Half-precision inputs are
    multiplied and accumulated in float32. On a CPU that holds under autocast too. On CUDA under autocast, the factors
    of every product are rounded to the autocast dtype for the tensor cores, and the sums are float32. If `weight`
    requires no gradient, none is computed, so a frozen head is cheaper. For a tied embedding autograd adds the
    gradients of its two uses, as usual.

    Args:
        hidden: [N, H] final hidden states.
        weight: [V, H] output embedding.
        labels: [N] vocabulary ids, or `ignore_index`.
        k: number of logits to keep per position, 1 <= k <= V.
        ignore_index: the label of positions without label loss.
        bias: [V] or None.
        scale: factor on the logits, applied before the cap.
        softcap: logits become softcap * tanh(logits / softcap). None: no cap.
        vocab_size: number of real entries. Later rows of `weight` are padding and have no effect. None: all are real.
        impl: "naive" keeps all N x V logits. "chunked" computes them tile by tile in plain torch. "triton" does so on
            an NVIDIA GPU. "auto" takes "naive" if all logits fit in one tile (2 million logits) or if k is more than a
            quarter of the vocabulary; "triton" for half-precision factors on a Hopper GPU, where it was measured to
            be faster than "chunked" (reports/gpu); otherwise "chunked". Only "naive" can be differentiated twice.
        use: "sum" promises that the loss uses `nll` only through its sum or mean over the labelled positions, and
            `lse`, `mean` and `var` not at all. Then "chunked" prepares the gradient in the forward pass, in little
            memory. If the promise is broken, a CPU computes the gradient anew, and a device fails with an assertion.
            "any" promises nothing; then "chunked" keeps up to `Chunked.kept` logits until the backward pass.
        scratch: holds the memory of these logits between two calls of "chunked". None: each call asks the system.

    Returns:
        N positions, in the order of `hidden`.

    Raises:
        InputError: the arguments do not fit each other, or "triton" is asked for without a GPU.
    """
    options = _options(hidden, weight, labels, bias, ignore_index, scale, softcap, vocab_size)
    if not 1 <= k <= options.entries:
        raise InputError(f"k must be between 1 and the vocabulary size {options.entries}, got {k}")
    if impl not in IMPLEMENTATIONS:
        hint = did_you_mean(impl, IMPLEMENTATIONS)
        raise InputError(f'no implementation "{impl}"{hint}\nuse one of {", ".join(IMPLEMENTATIONS)}')
    factors = autocast_factors(hidden.device)
    dtype = factors or torch.promote_types(hidden.dtype, weight.dtype)
    chosen = automatic(len(hidden), options.entries, k, hidden.device, dtype) if impl == "auto" else impl
    if chosen == "naive":
        return naive(hidden, weight, bias, labels, k, options)
    tiles: Tiles = _triton() if chosen == "triton" else Chunked.on(hidden.device, scratch)
    out = FusedTopK.apply(hidden, weight, bias, labels, k, options, tiles, torch.is_grad_enabled(), use, factors)
    return TopKCrossEntropy(*cast(tuple[Tensor, ...], out))


def automatic(
    positions: int, entries: int, k: int, device: torch.device, factors: torch.dtype
) -> Literal["naive", "chunked", "triton"]:
    """The implementation that "auto" chooses for products whose factors have the dtype `factors`."""
    if positions * entries <= ONE_TILE or 4 * k > entries:
        return "naive"
    measured = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == HOPPER
    half = factors in (torch.bfloat16, torch.float16)
    return "triton" if measured and half and k <= MAX_TRITON_K and find_spec("triton") else "chunked"


def require_kernel(impl: str, device: torch.device, k: int | None) -> None:
    """Checks that an implementation can run, before a training starts.

    Args:
        impl: "auto", "chunked" or "triton".
        device: where it is to run.
        k: number of kept logits per position. None: the whole vocabulary.

    Raises:
        InputError: it is "triton", which needs an NVIDIA GPU, the package triton, and a small k.
    """
    if impl != "triton":
        return
    if device.type != "cuda" or not find_spec("triton"):
        missing = "a CUDA device" if device.type != "cuda" else "the package triton"
        raise InputError(f"kernel: triton needs {missing}\nset kernel: auto in the recipe")
    if k is None or k > MAX_TRITON_K:
        kept = "the whole vocabulary" if k is None else f"k = {k}"
        raise InputError(
            f"kernel: triton keeps at most {MAX_TRITON_K} logits per position, the recipe asks for {kept}\n"
            "lower k, or set kernel: chunked in the recipe"
        )


def _triton() -> Tiles:
    if not find_spec("triton"):
        raise InputError('triton is not installed\ninstall gldbench[kernels], or use impl="chunked"')
    from gldfusion.kernels.triton_gpu import TritonTiles  # an optional dependency

    return TritonTiles(tuned=True)


def _options(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    bias: Tensor | None,
    ignore_index: int,
    scale: float,
    softcap: float | None,
    vocab_size: int | None,
) -> Options:
    """Checks shapes, sizes and labels, and collects the settings of the output layer."""
    rows = weight.shape[0]
    if hidden.ndim != 2 or weight.ndim != 2 or hidden.shape[1] != weight.shape[1]:
        raise InputError(
            f"expected hidden [N, H] and weight [V, H], got {list(hidden.shape)} and {list(weight.shape)}\n"
            "flatten batch and time into one axis, and leave out unlabelled positions"
        )
    if labels.shape != hidden.shape[:1] or (bias is not None and bias.shape != (rows,)):
        got = "" if bias is None else f" and bias {list(bias.shape)}"
        raise InputError(
            f"expected labels [{len(hidden)}], and a bias [{rows}] or none\ngot labels {list(labels.shape)}{got}"
        )
    entries = rows if vocab_size is None else vocab_size
    if not 1 <= entries <= rows:
        raise InputError(f"vocab_size must be between 1 and the {rows} rows of weight, got {entries}")
    if not (math.isfinite(scale) and scale > 0) or (
        softcap is not None and not (math.isfinite(softcap) and softcap > 0)
    ):
        raise InputError(f"scale and softcap must be positive numbers, got {scale} and {softcap}")
    _check_labels(labels, entries, ignore_index)
    return Options(entries, ignore_index, float(scale), softcap)


def _check_labels(labels: Tensor, entries: int, ignore_index: int) -> None:
    good = ((labels >= 0) & (labels < entries)) | (labels == ignore_index)
    if not on_host(labels):
        torch._assert_async(good.all())  # does not wait for the device  # pyright: ignore[reportPrivateImportUsage]
    elif not good.all():
        wrong = int(labels[~good][0])
        raise InputError(
            f"a label must be a vocabulary id below {entries} or {ignore_index} (ignored), got {wrong}\n"
            "labels and weight belong to different vocabularies, or padding is not ignored"
        )
