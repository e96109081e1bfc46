"""How many training texts a plan counts, and how long they are."""

from __future__ import annotations

from dataclasses import dataclass

from gldfusion.errors import InputError
from gldfusion.recipe import Recipe

SAMPLE = 512
"""texts whose length is measured"""
CHARACTERS = 3.6
"""of a token, where there is no tokenizer"""


@dataclass(frozen=True)
class Texts:
    """The training texts."""

    examples: int
    mean: float
    """tokens of a text"""
    spread: float
    """standard deviation of the tokens of a text"""
    longest: int
    """tokens of the longest text"""
    source: str
    """a sentence: where the numbers come from"""

    def largest_batch(self, rows: int) -> int:
        """Tokens that a micro-batch of `rows` texts hardly ever exceeds: three standard deviations above its mean."""
        usual = rows * self.mean + 3 * rows**0.5 * self.spread
        return min(rows * self.longest, max(self.longest, round(usual)))


def texts_of(recipe: Recipe, examples: int | None, tokens: float | None) -> Texts:
    """Counts the texts of a recipe, and measures a sample of their lengths.

    Args:
        recipe: the recipe.
        examples: number of texts that the user gives instead; None: counted.
        tokens: mean tokens of a text that the user gives instead; None: measured.

    Raises:
        InputError: the data are not here, and neither the recipe nor the user says how many texts they have; or the
            data cannot be read.
    """
    train, limit = recipe.train, recipe.train.max_length
    there = all(part.path is not None and part.path.exists() for part in recipe.data)
    if there and (examples is None or tokens is None):
        found = _measured(recipe)
    elif train.steps is None and examples is None:
        raise InputError(
            "the data are not here, so nobody knows how many steps train.epochs are\n"
            "give the number of texts with --examples N, or set train.steps"
        )
    else:
        count = (train.steps or 0) * train.batch_size
        found = Texts(
            count, limit, 0.0, limit, "the data are not here: each text is read once and has max_length tokens"
        )
    if examples is not None:
        found = Texts(examples, found.mean, found.spread, found.longest, f"{found.source}; --examples {examples}")
    if tokens is not None:
        mean = min(tokens, limit)
        found = Texts(
            found.examples, mean, 0.0, limit, f"--tokens {tokens:g} for each text, the longest has max_length"
        )
    return found


def _measured(recipe: Recipe) -> Texts:
    import numpy as np

    from gldfusion.examples import load_examples
    from gldfusion.model import load_tokenizer
    from gldfusion.sources import encode_example

    examples = load_examples(recipe.data, recipe.data_seed)
    chosen = [examples[i] for i in np.linspace(0, len(examples) - 1, min(SAMPLE, len(examples))).astype(int)]
    limit = recipe.train.max_length
    if (recipe.pivot / "tokenizer_config.json").is_file():
        tokenizer = load_tokenizer(recipe.pivot, recipe.trust_remote_code)
        lengths = [len(encode_example(tokenizer, e, limit, recipe.special_tokens_in_text).ids) for e in chosen]
        how = "with the pivot's tokenizer"
    else:
        lengths = [min(limit, len(e.prompt + e.response) / CHARACTERS) for e in chosen]
        how = f"as {CHARACTERS} characters for each token, because the pivot's tokenizer is not here"
    return Texts(
        len(examples),
        float(np.mean(lengths)),
        float(np.std(lengths)),
        int(np.ceil(np.max(lengths))),
        f"counted in the data; lengths of {len(chosen)} of the texts measured {how}",
    )
