"""Cases for options that are ranked by log-likelihood: stored JSON where the right or another option is likeliest."""

from __future__ import annotations

import json
from collections.abc import Sequence

from gldbench.schema import Item, Task
from gldbench.selftest.cases import EMPTY, Case, garbage, made

LETTERS = "ABCDE"


def _stored(item: Item, best: int, high: float, low: float) -> str:
    """JSON in which one option is far likelier than the others, in total and per byte."""
    places = range(len(item.choices))
    values = [high if place == best else low - place for place in places]
    return json.dumps({"loglikelihoods": values, "greedy": [place == best for place in places]})


def cases(task: Task, items: Sequence[Item]) -> list[Case]:
    """The right option likeliest, another option likeliest, and texts that are no list of log-likelihoods."""
    found: list[Case] = []
    for item in items:
        gold, count = LETTERS.index(item.target), len(item.choices)
        wrong = [place for place in range(count) if place != gold]
        found += made("gold", item, [_stored(item, gold, -0.001, -5_000.0)])
        found += made("paraphrase", item, [_stored(item, gold, 0.0, -1e6), _stored(item, gold, -0.01, -99_999.5)])
        found += made("near_miss", item, [_stored(item, wrong[0], -0.001, -5_000.0)])
        found += made("other", item, [_stored(item, place, -0.001, -5_000.0) for place in wrong])
        found += made("empty", item, EMPTY) + made("garbage", item, garbage(item))
        short = json.dumps({"loglikelihoods": [-1.0] * (count - 1), "greedy": [True] * (count - 1)})
        texts = json.dumps({"loglikelihoods": ["-1"] * count, "greedy": [True] * count})
        unknown = json.dumps({"loglikelihoods": [float("nan")] * count})
        found += made("adversarial", item, [item.target, short, texts, unknown, "[]", "null", "{}", "[" * 3_000])
    return found
