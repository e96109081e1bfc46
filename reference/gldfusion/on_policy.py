"""Distillation on responses that the pivot writes itself while it is trained (on-policy, as in GKD).

Every `train.on_policy.every` steps the pivot samples one response to each prompt of the coming steps. The distillation
terms read these responses; the cross-entropy on the labels (SFT) stays on the responses of the data. So a step has
forward passes of two kinds, and their batches have a `role`.

What is sampled depends on the weights, the data, `train.seed` and the step alone, on one machine. States are saved only
at steps at which new responses are due, so a resumed training samples the same responses again.

Source: Agarwal et al. 2024, "On-Policy Distillation of Language Models" (GKD, arXiv 2306.13649).
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from gldfusion.chat import stop_tokens
from gldfusion.data import FusionData
from gldfusion.dealing import share_step
from gldfusion.prefetch import prefetch
from gldfusion.prepare import Fusion
from gldfusion.sources import Example
from gldfusion.work import Work, micro_batch_size, prepare_step

ROWS = 32
"""prompts that are continued at once. It does not depend on the recipe, because it decides what is sampled"""


@dataclass(frozen=True)
class Written:
    """The responses of some steps."""

    first: int
    """the first of these steps"""
    data: FusionData
    """the responses of all steps, one after the other, each in the order of `FusionData.step`"""
    tokens: int
    """number of tokens of prompts and responses that the pivot read and wrote"""


def works(fusion: Fusion, first: int) -> Generator[Work, None, None]:
    """The work of every step from `first` on. Without on-policy responses a thread prepares it ahead."""
    settings = fusion.recipe.train.on_policy
    if settings is None:
        yield from prefetch(partial(prepare_step, fusion), range(first, fusion.steps))
        return
    for start in range(first, fusion.steps, settings.every):
        written = write(fusion, start)
        for step in range(start, min(start + settings.every, fusion.steps)):
            yield on_policy_step(fusion, step, written)


def on_policy_step(fusion: Fusion, step: int, written: Written) -> Work:
    """The work of one step: passes over the data for SFT, and passes over the written responses for the terms."""
    settings, data = fusion.recipe.train, written.data
    sft = prepare_step(fusion, step, role="labels")
    begin = (step - written.first) * settings.batch_size
    own = range(begin, begin + settings.batch_size)
    sizes = data.texts.lengths
    usable = sorted((i for i in own if data.texts.labels[i]), key=lambda i: (-sizes[i], i))
    lengths = sizes[usable].tolist()
    shares = share_step(lengths, 1, micro_batch_size(fusion), data.packer is not None)[0] if usable else []
    batches = [replace(data.batch([usable[i] for i in share]), role="sources") for share in shares]
    return Work(sft.chosen, [*sft.batches, *batches], written.tokens if step == written.first else 0)


def write(fusion: Fusion, first: int) -> Written:
    """Samples the responses of the steps from `first` on."""
    train, data = fusion.recipe.train, fusion.data
    assert train.on_policy is not None
    steps = range(first, min(first + train.on_policy.every, fusion.steps))
    chosen = [i for step in steps for i in data.step(step, train.batch_size, train.seed)]
    replies, tokens = sample(fusion, chosen, seed=int(np.random.default_rng([train.seed, first]).integers(2**62)))
    examples = [
        data.examples[i] if reply is None else with_reply(data.examples[i], reply)
        for i, reply in zip(chosen, replies, strict=True)
    ]
    special = fusion.recipe.special_tokens_in_text
    spoken = FusionData.of(examples, fusion.tokenizer, train.max_length, data.sources, special, data.packer)
    return Written(first, spoken, tokens)


def sample(fusion: Fusion, chosen: Sequence[int], seed: int) -> tuple[list[str | None], int]:
    """Samples a response to the last prompt of each example.

    Args:
        fusion: the training.
        chosen: the examples.
        seed: seed of the draws.

    Returns:
        The responses, None where the prompt leaves no room for one; and the number of tokens of these prompts and
        responses.
    """
    prompts = [_prompt(fusion, i) for i in chosen]
    room = fusion.recipe.train.max_length
    order = sorted((n for n, ids in enumerate(prompts) if len(ids) < room), key=lambda n: (-len(prompts[n]), n))
    replies: list[str | None] = [None] * len(prompts)
    model, tokens = cast(Any, fusion.accelerator.unwrap_model(fusion.model)).model, 0
    devices = [fusion.accelerator.device] if fusion.accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _generating(model, fusion):
        torch.manual_seed(seed)
        for begin in range(0, len(order), ROWS):
            rows = order[begin : begin + ROWS]
            for n, ids in zip(rows, _continued(fusion, model, [prompts[n] for n in rows]), strict=True):
                tokens += len(prompts[n]) + len(ids)
                text = fusion.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
                replies[n] = cast(str, text)
    return replies, tokens


def with_reply(example: Example, reply: str) -> Example:
    """The example with another text of its last reply."""
    if not example.chat:
        return replace(example, response=reply)
    chat = json.loads(example.chat)
    chat["messages"][-1]["content"] = reply
    return replace(example, response=reply, chat=json.dumps(chat))


def _prompt(fusion: Fusion, index: int) -> list[int]:
    """The ids before the last reply of an example."""
    encoded = fusion.data.encoded[index]
    return encoded.ids[: encoded.n_prompt if encoded.replies is None else encoded.replies[-1][0]]


def _continued(fusion: Fusion, model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The sampled ids after each prompt, without the token that ends them. The first prompt is the longest."""
    train, device, width = fusion.recipe.train, fusion.accelerator.device, len(prompts[0])
    assert train.on_policy is not None
    ids = torch.zeros(len(prompts), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):  # padded on the left
        ids[row, width - len(prompt) :], mask[row, width - len(prompt) :] = torch.tensor(prompt), 1
    most = min(train.on_policy.max_tokens, train.max_length - width)
    with torch.no_grad():
        found = cast(
            Tensor,
            cast(Any, model).generate(input_ids=ids.to(device), attention_mask=mask.to(device), max_new_tokens=most),
        )
    stops = set(stop_tokens(fusion.tokenizer))
    rows = found[:, width:].tolist()
    return [row[: next((n for n, token in enumerate(row) if token in stops), len(row))] for row in rows]


@contextmanager
def _generating(model: Any, fusion: Fusion) -> Generator[None, None, None]:
    """Gives the model a configuration that samples from its own distribution, without penalties or a cut tail."""
    settings = fusion.recipe.train.on_policy
    assert settings is not None
    before, stops = model.generation_config, stop_tokens(fusion.tokenizer)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=settings.temperature,
        top_k=0,
        top_p=1.0,
        bos_token_id=fusion.tokenizer.bos_token_id,
        eos_token_id=stops,
        pad_token_id=stops[0],
    )
    try:
        yield
    finally:
        model.generation_config = before
