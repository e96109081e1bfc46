"""The demo's training texts: how much padding packing saves, and how well the sources cover them."""

from __future__ import annotations

from gldbench.spec import load_spec, models_of
from gldbench.worlds.build import families_of, tokenizer_owner
from gldbench.worlds.sets import make_sets, noisy_labels
from gldbench.worlds.tokenizers import train_tokenizer
from gldfusion.coverage import ALL, coverage_report
from gldfusion.data import FusionData
from gldfusion.packing import Packer
from gldfusion.padding import padding_shares
from gldfusion.recipe import Recipe
from gldfusion.sources import Example


def test_the_demo_is_packed_and_covered() -> None:
    """The texts of the spec `tiny`, a fifth of them, with tokenizers as it trains them."""
    spec = load_spec("tiny")
    sets = make_sets(spec.world.seed, {"fusion": spec.world.sets["fusion"] // 5}, families_of(spec.world))
    instances = noisy_labels(sets["fusion"], spec.world.wrong_labels, spec.world.seed)
    texts = [Example(n.instance.id, n.instance.prompt, n.response) for n in instances]
    words = [part for text in texts for part in (text.prompt, text.response)]
    models = models_of(spec.world)
    owners = {name: models[tokenizer_owner(spec.world, name)] for name in models}
    tokenizers = {n: train_tokenizer(m.tokenizer, words, m.vocabulary, m.turn) for n, m in owners.items()}
    train = spec.fusion.train
    data = FusionData.of(texts, tokenizers["pivot"], train.max_length, [])
    lengths = [len(encoded.ids) for encoded in data.encoded]
    before, after = padding_shares(lengths, train, Packer.for_width(spec.world.pivot.hidden))
    print(f"demo: padding {before:.1%} before, {after:.1%} after")
    assert before > 0.15
    assert after < 0.03
    least = Recipe.model_fields["min_coverage"].default
    rows = [row for row in coverage_report(texts, tokenizers, train.max_length) if row.pivot == "pivot"]
    assert {row.source for row in rows} == {*spec.world.sources}
    for row in rows:
        if row.family == ALL:
            print(f"coverage of {row.source}: {row.coverage:.1%}")
            assert row.coverage >= least
