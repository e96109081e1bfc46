"""The share of padding in the batches of a recipe, without and with packing: `python -m gldfusion.padding RECIPE`.

It reads the tokenizer and the configuration of the pivot, not its weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig

from gldfusion.data import FusionData, batch_indices
from gldfusion.dealing import share_step
from gldfusion.errors import InputError
from gldfusion.model import load_tokenizer
from gldfusion.packing import Packer
from gldfusion.recipe import TrainSpec, load_recipe, steps_of
from gldfusion.texts import encoding_of, load_texts


def padding_shares(lengths: Sequence[int], train: TrainSpec, packer: Packer) -> tuple[float, float]:
    """The share of padding in all batches of a training in one process.

    Args:
        lengths: tokens of each example.
        train: steps, batch sizes and seed of the training.
        packer: how packed rows are laid out.

    Returns:
        The share without packing and the share with packing.
    """
    tokens, padded, packed = 0, 0, 0
    for step in range(steps_of(train, len(lengths))):
        chosen = batch_indices(len(lengths), train.batch_size, train.seed, step)
        own = sorted((lengths[i] for i in chosen.tolist()), reverse=True)
        size = train.micro_batch_size or len(own)
        tokens += sum(own)
        padded += sum(_places(own, [[i] for i in part]) for part in share_step(own, 1, size, packed=False)[0])
        for part in share_step(own, 1, size, packed=True)[0]:
            texts = [own[i] for i in part]
            packed += _places(texts, packer.rows(texts))
    return 1 - tokens / padded, 1 - tokens / packed


def _places(lengths: Sequence[int], rows: Sequence[Sequence[int]]) -> int:
    """The number of places of a batch: its rows times the tokens of the longest one."""
    return len(rows) * max(sum(lengths[i] for i in row) for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m gldfusion.padding", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe", type=Path, help="the recipe (YAML)")
    given = parser.parse_args(arguments)
    try:
        recipe = load_recipe(given.recipe)
        tokenizer = load_tokenizer(recipe.pivot, recipe.trust_remote_code)
        data = FusionData(load_texts(recipe.data, recipe.data_seed, tokenizer, encoding_of(recipe)), tokenizer, [])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    config = AutoConfig.from_pretrained(recipe.pivot, trust_remote_code=recipe.trust_remote_code)
    packer = Packer.for_width(config.get_text_config().hidden_size)
    lengths = data.texts.lengths[data.usable].tolist()
    before, after = padding_shares(lengths, recipe.train, packer)
    print(f"padding of {recipe.name}: {before:.1%} without packing, {after:.1%} with packing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
