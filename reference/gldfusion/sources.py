"""Where source logits come from: a model that runs next to the pivot, or the store on disk (`gldfusion.cache`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from accelerate import cpu_offload
from numpy.typing import NDArray
from torch import Tensor, nn

from gldfusion.align import Encoded, encode_messages
from gldfusion.chat import is_reply
from gldfusion.errors import InputError
from gldfusion.hashes import hash_checkpoint
from gldfusion.inputs import collate, require_embedded
from gldfusion.model import SignalModel, load_model, load_tokenizer, vocabulary_hash
from gldfusion.packing import packer_of, reason_to_pad
from gldfusion.positions import readable_length
from gldfusion.specials import Special, marked, unparsed, with_special, without_marks
from gldfusion.templates import Message

TOKENS_AT_ONCE = 2**15
"""most tokens of a forward pass of several texts: 64 texts of 512 tokens, or 8 of 4,096"""


@dataclass(frozen=True)
class Example:
    """One training text."""

    id: str
    prompt: str
    response: str
    history: tuple[tuple[str, str], ...] = ()
    """the earlier turns (prompt, reply) of a conversation. Every reply is labelled"""
    chat: str = ""
    """a conversation that `history` cannot hold, with a system turn or tools, as the JSON text of
    {"messages": [...], "tools": [...]}. Then `prompt` is the content of the turn before the last reply"""
    group: str = ""
    """texts of the same kind have the same group, for example all texts of one task. The control "shuffled" exchanges
    outputs within a group (`controls.Control`)"""

    @property
    def messages(self) -> list[Message]:
        """The turns of the conversation. The last one is the assistant's."""
        if self.chat:
            return json.loads(self.chat)["messages"]
        turns = (*self.history, (self.prompt, self.response))
        said = [part for turn in turns for part in zip(("user", "assistant"), turn, strict=True)]
        return [{"role": role, "content": content} for role, content in said]

    @property
    def tools(self) -> list[Any]:
        """Descriptions of the tools that the assistant can call."""
        return json.loads(self.chat).get("tools") or [] if self.chat else []

    @property
    def replies(self) -> list[str]:
        """The replies that are labelled."""
        return [message["content"] for message in self.messages if is_reply(message)]

    @cached_property
    def key(self) -> bytes:
        """16 bytes that identify the text. They do not depend on its id or its place in a file."""
        if self.chat:
            return hashlib.sha256(f"chat\x00{self.chat}".encode("utf-8", "surrogatepass")).digest()[:16]
        text = f"{len(self.prompt)}\x00{self.prompt}{self.response}"
        for prompt, reply in self.history:
            text += f"\x00{len(prompt)}\x00{len(reply)}\x00{prompt}{reply}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


@dataclass(frozen=True)
class SequenceSignal:
    """The output of a source at the T labelled positions of one text, already shifted.

    A field is None if the source is a cache that does not store it. All fields but `starts` are tensors on the source's
    device if a `LiveSource` was opened with `stay`.
    """

    values: NDArray[np.float32]
    """[T, k] the k largest logits, in descending order"""
    ids: NDArray[np.int64] | None
    """[T, k] their vocabulary ids"""
    lse: NDArray[np.float32] | None
    """[T] log-sum-exp over the whole vocabulary"""
    mean: NDArray[np.float32] | None
    """[T] mean logit over the whole vocabulary"""
    std: NDArray[np.float32] | None
    """[T] population standard deviation of the logits over the whole vocabulary"""
    starts: NDArray[np.int64]
    """[T] byte of the response text at which each label starts; -1 inside a character"""
    nll: NDArray[np.float32] | None = None
    """[T] negative log-likelihood of each label, in nats"""

    @property
    def held(self) -> tuple[str, ...]:
        """The names of the `LOGIT_FIELDS` that are not None."""
        return tuple(name for name in LOGIT_FIELDS if getattr(self, name) is not None)


LOGIT_FIELDS = ("values", "ids", "lse", "mean", "std", "nll")
"""the fields that say what a source outputs"""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""the precisions in which a source can run"""


def empty_signal(k: int) -> SequenceSignal:
    """The signal of a text without labelled positions, because max_length cut it off before its response."""
    none, values = np.zeros(0, np.float32), np.zeros((0, k), np.float32)
    held = {"lse": none, "mean": none, "std": none, "nll": none}
    return SequenceSignal(values=values, ids=values.astype(np.int64), starts=none.astype(np.int64), **held)


class SourceSignals(Protocol):
    """A source, as the training loop uses it."""

    name: str
    vocabulary: int
    """number of entries of its output layer"""
    vocabulary_hash: str
    """see `model.vocabulary_hash`"""
    checkpoint_hash: str
    """see `hashes.hash_checkpoint`"""

    def starts(self, examples: Sequence[Example]) -> list[list[int]]:
        """`Encoded.starts` of each text. This does not run the model."""
        ...

    def read(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        """The signal of each text."""
        ...


def encode_example(tokenizer: object, example: Example, max_length: int, special: Special = "parse") -> Encoded:
    """`align.encode_messages` of an example.

    Args:
        tokenizer: the tokenizer.
        example: the text.
        max_length: largest number of tokens.
        special: how special tokens that are typed in the text are read; see `specials`.

    Raises:
        InputError: see `align.encode_messages`. The message names the example.
    """
    if special != "parse" and with_special(tokenizer, [example], special):
        text = marked(tokenizer, example)
        encoded = encode_example(unparsed(tokenizer), text, max_length)
        return without_marks(encoded, text.replies)
    try:
        return encode_messages(tokenizer, example.messages, max_length, example.tools)
    except InputError as error:
        raise InputError(f"example {example.id}: {error}") from None


def require_finite(source: str, example: Example, signal: SequenceSignal) -> None:
    """Checks that a source gave numbers.

    Raises:
        InputError: a value is infinite or NaN. The message names the source, the example and the number of positions.
    """
    fields = [np.asarray(getattr(signal, name)) for name in signal.held if name != "ids"]
    bad = sum(~np.isfinite(field).all(axis=tuple(range(1, field.ndim))) for field in fields)
    if count := int(np.count_nonzero(bad)):
        raise InputError(
            f"source {source}: infinite or NaN logits at {count} of {len(signal.values)} positions of example "
            f"{example.id}\n"
            "run the source in bfloat16 or float32 (float16 overflows above 65504), or remove this example"
        )


class LiveSource:
    """A frozen model that runs in this process, with its own tokenizer and its own chat template."""

    def __init__(
        self,
        name: str,
        checkpoint: Path,
        k: int | None,
        max_length: int,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        *,
        dtype: str = "float32",
        offload: bool = False,
        trust_remote_code: bool = False,
        special: Special = "parse",
        packing: bool = True,
        stay: bool = False,
    ) -> None:
        """Loads the model.

        Args:
            name: name of the source.
            checkpoint: its folder.
            k: how many logits the signals keep per position. None keeps the whole vocabulary.
            max_length: largest number of tokens of a text, prompt and response together. A model with fewer learned
                positions reads only so many, and a warning says so.
            device: where the model runs; it may be another device than the pivot's.
            batch_size: most texts of a forward pass. Long texts are fewer: together at most `TOKENS_AT_ONCE` tokens.
            dtype: precision in which it runs: "float32", "bfloat16" or "float16".
            offload: keep the weights of the layers in main memory and copy them to the device one layer at a time.
                Only the output layer stays on the device.
            trust_remote_code: whether code that the checkpoint brings may run.
            special: how special tokens that are typed in the texts are read; see `specials`.
            packing: whether texts share rows, if the model can do that.
            stay: leave the signals on the device as tensors. Otherwise they become numpy arrays, for which the program
                waits.

        Raises:
            InputError: the folder is not a checkpoint, k is larger than the vocabulary, the model is refused by the
                probe, or this machine does not have the device.
        """
        self.name = name
        self.special: Special = special
        self.tokenizer = load_tokenizer(checkpoint, trust_remote_code)
        self.device = _present(device, name)
        straight = self.device if self.device.type != "cpu" and not offload else None  # main memory may be too small
        try:
            model = load_model(checkpoint, DTYPES[dtype], trust_remote_code, device=straight)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"source {name}: its weights do not fit into the memory of {self.device}\n"
                "set offload: true, name another device, or fill a cache before the training"
            ) from error
        self.max_length = readable_length(model, max_length, name)
        self.embeddings = cast(nn.Embedding, model.get_input_embeddings()).weight.shape[0]
        if offload:
            cpu_offload(cast(nn.Module, model.base_model), execution_device=self.device)
            cast(nn.Module, model.get_output_embeddings()).to(self.device)
        else:
            cast(nn.Module, model).to(self.device)
        self.model = SignalModel(model, k).requires_grad_(False).eval()
        self.vocabulary = self.model.vocabulary
        self.vocabulary_hash = vocabulary_hash(self.tokenizer)
        self.checkpoint_hash = hash_checkpoint(checkpoint)
        self.batch_size = batch_size
        reason = reason_to_pad(self.model, self.device) if packing else "the recipe turns packing off"
        self.packer = packer_of(self.model, reason)
        self.stay = stay

    def starts(self, examples: Sequence[Example]) -> list[list[int]]:
        """See `SourceSignals.starts`."""
        return [self._encode(e).starts for e in examples]

    def read(self, examples: Sequence[Example]) -> list[SequenceSignal]:
        """See `SourceSignals.read`."""
        encoded = [self._encode(e) for e in examples]
        order = sorted((i for i, e in enumerate(encoded) if e.starts), key=lambda i: -len(encoded[i].ids))
        out: dict[int, SequenceSignal] = {}
        first = 0
        while first < len(order):  # texts of similar length need little padding, and the first one is the longest
            count = min(self.batch_size, max(1, TOKENS_AT_ONCE // len(encoded[order[first]].ids)))
            part = order[first : first + count]
            out.update(zip(part, self._forward([encoded[i] for i in part]), strict=True))
            first += count
        if not self.stay or self.device.type == "cpu":  # on a GPU the loss is checked instead, at the end of the step
            for i, signal in out.items():
                require_finite(self.name, examples[i], signal)
        empty = empty_signal(self.model.k)
        if self.stay:
            tensors: dict[str, Any] = {name: torch.from_numpy(getattr(empty, name)) for name in LOGIT_FIELDS}
            empty = replace(empty, **{name: tensor.to(self.device) for name, tensor in tensors.items()})
        return [out.get(i, empty) for i in range(len(examples))]

    def _encode(self, example: Example) -> Encoded:
        encoded = encode_example(self.tokenizer, example, self.max_length, self.special)
        require_embedded(encoded, self.embeddings, self.tokenizer, example.id)
        return encoded

    @torch.no_grad()
    def _forward(self, encoded: Sequence[Encoded]) -> list[SequenceSignal]:
        rows = None if self.packer is None else self.packer.rows([len(e.ids) for e in encoded])
        signal = self.model(collate(encoded, rows).to(self.device))
        fields: dict[str, Any] = {name: signal.need(name) for name in LOGIT_FIELDS}
        fields = {
            name: (t.float() if t.is_floating_point() else t) if self.stay else _array(t) for name, t in fields.items()
        }
        return [
            SequenceSignal(
                **{name: rows[row, : len(e.starts)] for name, rows in fields.items()},
                starts=np.asarray(e.starts, dtype=np.int64),
            )
            for row, e in enumerate(encoded)
        ]


def _present(device: torch.device | str, source: str) -> torch.device:
    """Returns `device`.

    Raises:
        InputError: this machine does not have it.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either of them
        reason = str(error).split("\n")[0]
        raise InputError(f"source {source}: cannot run on the device {device}: {reason}\nname another one") from None


def _array(tensor: Tensor) -> NDArray:
    """As a numpy array. Floating-point tensors become float32, because numpy has no bfloat16."""
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
