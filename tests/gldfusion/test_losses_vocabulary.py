"""Losses that know which token is which: vocabulary nodes, MinCE and AvgCE, GKD; and the standardised top-k ULD."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from gldfusion.cache import build_cache
from gldfusion.conformance.ours import signal_of
from gldfusion.fuse import forward, fuse
from gldfusion.gw import anova, ggw_sum
from gldfusion.losses import make_loss
from gldfusion.losses.gld import Gld
from gldfusion.losses.minced import Minced
from gldfusion.prepare import prepare
from gldfusion.recipe import Recipe, SourceSpec, TermSpec
from gldfusion.signals import END, PivotSignal
from gldfusion.sources import Example, LiveSource

V = 9
PERMUTED = torch.tensor([3, 1, 4, 0, 5, 8, 2, 6, 7])

NAMED = {"nodes": "vocab", "values": "softmax"}


def randn(*shape: int, seed: int) -> Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def signals(k: int = 4) -> tuple[PivotSignal, PivotSignal, Tensor]:
    """Two sequences of 5 and 3 pivot positions, of 4 and 2 source positions; position 2 of both is not paired."""
    masks = torch.arange(5) < torch.tensor([5, 3])[:, None], torch.arange(4) < torch.tensor([4, 2])[:, None]
    labels = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]])
    ours = signal_of(randn(2, 5, V, seed=0), masks[0], labels, k)
    theirs = signal_of(randn(2, 4, V, seed=1), masks[1], torch.zeros(2, 4, dtype=torch.long), k)
    pairs = torch.tensor([[[0, 0], [1, 1], [3, 2], [4, 3]], [[0, 0], [1, 1], [-1, -1], [-1, -1]]])
    return ours, theirs, pairs


def dense(signal: PivotSignal, row: int, z: Tensor) -> Tensor:
    """[T, V] with 0 where nothing was kept."""
    keep = signal.mask[row]
    ids = signal.need("mapped")[row][keep]
    return torch.zeros(len(ids), V, dtype=z.dtype).scatter(1, ids, z[row][keep])


@pytest.mark.parametrize(("distance", "of_features"), [("ggw", ggw_sum), ("anova", anova)])
def test_vocabulary_nodes_written_out(distance: str, of_features: Callable[[Tensor, Tensor], Tensor]) -> None:
    ours, theirs, pairs = signals()
    expected = 0.0
    for row in range(2):
        full = [dense(s, row, torch.softmax(s.values, -1)) for s in (ours, theirs)]
        nodes = (full[0].abs().sum(0) + full[1].abs().sum(0)) > 0
        f, g = ((z.T @ z / len(z))[nodes][:, nodes].mean(-1) for z in full)
        expected += of_features(f, g).item()
    loss = make_loss("gld", {"nodes": "vocab", "values": "softmax", "distance": distance})
    assert loss(ours, theirs, pairs).item() == pytest.approx(expected)


def test_a_token_without_counterpart_is_a_node_of_its_own() -> None:
    """Mapped or not, as long as it meets no token of the pivot, a source's token adds the same node."""
    ours, theirs, pairs = signals(k=2)
    loss = Gld(nodes="vocab", values="softmax")
    theirs = replace(theirs, mapped=theirs.need("ids") + V)
    lost = replace(theirs, mapped=torch.full_like(theirs.need("ids"), -1))
    assert loss(ours, lost, pairs).item() == pytest.approx(loss(ours, theirs, pairs).item(), abs=1e-15)


def test_of_two_entries_that_meet_the_larger_counts() -> None:
    ours, theirs, pairs = signals()
    mapped = theirs.need("mapped").clone()
    mapped[..., 2] = mapped[..., 0]
    merged = replace(theirs, mapped=mapped)
    values = torch.softmax(theirs.values, -1).clone()
    values[..., 2] = 0
    expected = 0.0
    for row in range(2):
        kept = theirs.mask[row]
        z = torch.zeros(int(kept.sum()), V, dtype=values.dtype).scatter_add(1, mapped[row][kept], values[row][kept])
        full = dense(ours, row, torch.softmax(ours.values, -1)), z
        nodes = torch.zeros(V).bool()
        nodes[ours.need("ids")[row][ours.mask[row]].unique()] = True
        nodes[mapped[row][kept].unique()] = True
        f, g = ((one.T @ one / len(one))[nodes][:, nodes].mean(-1) for one in full)
        expected += ggw_sum(f, g).item()
    assert Gld(nodes="vocab", values="softmax")(ours, merged, pairs).item() == pytest.approx(expected)


def test_entropy_decides_how_many_logits_a_position_keeps() -> None:
    """A position of two even candidates keeps two, a certain one keeps one, and nothing else enters the graph."""
    _, theirs, _ = signals()
    rows = torch.tensor([[20.0, 0, -1, -2], [5, 5, -30, -40], [0, 0, 0, 0], [3, 3, 3, -40]], dtype=torch.float64)
    told = replace(theirs, values=rows.expand(2, 4, 4), lse=rows.logsumexp(-1).expand(2, 4))
    z = Gld(adapt="entropy")._node_values(told)[0]
    assert (z != 0).sum(-1).tolist() == [1, 2, 4, 3]
    torch.testing.assert_close(z[z != 0], Gld()._node_values(told)[0][z != 0])


@pytest.mark.parametrize("name", ["minced", "kl", "gkd"])
def test_permuted_ids_are_seen(name: str) -> None:
    ours, theirs, pairs = signals()
    renamed = PERMUTED[theirs.need("ids")]
    before, after = (
        make_loss(name)(ours, replace(theirs, ids=ids, mapped=ids), pairs).item()
        for ids in (theirs.need("ids"), renamed)
    )
    assert abs(before - after) > 0.01


def test_names_of_nodes_do_not_matter() -> None:
    """Both models renamed alike: a Gromov-Wasserstein distance is of the shapes alone."""
    ours, theirs, pairs = signals()
    loss = Gld(nodes="vocab", values="softmax")
    renamed = [replace(s, ids=PERMUTED[s.need("ids")], mapped=PERMUTED[s.need("ids")]) for s in (ours, theirs)]
    assert loss(renamed[0], renamed[1], pairs).item() == pytest.approx(loss(ours, theirs, pairs).item())


def test_gkd_is_the_divergence_of_whole_distributions_and_tends_to_both_kls() -> None:
    ours, theirs, pairs = signals(k=V)
    valid = pairs[..., 0] >= 0
    row = valid.nonzero()[:, 0]
    i, j = pairs[valid].unbind(-1)
    p, q = ours.need("logits")[row, i].log_softmax(-1), theirs.need("logits")[row, j].log_softmax(-1)
    m = (0.3 * q.exp() + 0.7 * p.exp()).log()
    expected = (0.3 * q.exp() * (q - m) + 0.7 * p.exp() * (p - m)).sum()
    assert make_loss("gkd", {"beta": 0.3})(ours, theirs, pairs).item() == pytest.approx(expected.item(), abs=1e-9)
    forward_kl, reverse_kl = (q.exp() * (q - p)).sum().item(), (p.exp() * (p - q)).sum().item()
    near = [make_loss("gkd", {"beta": beta})(ours, theirs, pairs).item() for beta in (1e-6, 1 - 1e-6)]
    assert near[0] / 1e-6 == pytest.approx(forward_kl, rel=1e-3)
    assert near[1] / 1e-6 == pytest.approx(reverse_kl, rel=1e-3)


def test_uld_topk_is_uld_on_standardised_logits() -> None:
    given = signals()
    for options in ({}, {"standardize": "vocabulary"}, {"k": 3, "temperature": 2.0}):
        wanted = make_loss("uld", {"standardize": "topk"} | options)(*given)
        assert make_loss("uld_topk", options)(*given).item() == wanted.item()
    assert make_loss("uld")(*given).item() != make_loss("uld_topk")(*given).item()


def test_minced_written_out() -> None:
    """KL on the kept ids and the rest where paired, the next label's negative log-likelihood where not."""
    ours, theirs, pairs = signals()
    expected = ours.nll[0, 2] + ours.nll[1, 2]
    for b, i, j in ((0, 0, 0), (0, 1, 1), (0, 3, 2), (0, 4, 3), (1, 0, 0), (1, 1, 1)):
        p = torch.softmax(theirs.need("logits")[b, j], -1)[theirs.need("ids")[b, j]]
        q = torch.softmax(ours.need("logits")[b, i], -1)[theirs.need("ids")[b, j]]
        expected = expected + (p * (p / q).log()).sum() + (1 - p.sum()) * ((1 - p.sum()) / (1 - q.sum())).log()
    loss = Minced(positions="start")
    assert loss(ours, theirs, pairs).item() == pytest.approx(expected.item())
    assert loss.count(ours.mask, theirs.mask, pairs) == 8


def test_minced_takes_the_label_where_tokens_are_not_aligned_one_to_one() -> None:
    """As FuseLLM's code. The source's second token of each text covers two labels of the pivot."""
    ours, theirs, pairs = signals()
    ended = torch.cat([pairs, torch.full((2, 1, 2), END)], 1)
    expected = ours.nll[0, 1:3].sum() + ours.nll[1, 1:3].sum()
    for b, i, j in ((0, 0, 0), (0, 3, 2), (0, 4, 3), (1, 0, 0)):
        p = torch.softmax(theirs.need("logits")[b, j], -1)[theirs.need("ids")[b, j]]
        q = torch.softmax(ours.need("logits")[b, i], -1)[theirs.need("ids")[b, j]]
        expected = expected + (p * (p / q).log()).sum() + (1 - p.sum()) * ((1 - p.sum()) / (1 - q.sum())).log()
    loss, start = Minced(), Minced(positions="start")
    assert loss(ours, theirs, ended).item() == pytest.approx(expected.item())
    assert loss(ours, theirs, ended).item() != pytest.approx(start(ours, theirs, ended).item())
    first = start.scores(ours, theirs, torch.tensor([[[0, 0]], [[0, 0]]]))
    assert loss.scores(ours, theirs, ended)[1].item() == pytest.approx(first[1].item())


def test_a_kept_token_without_counterpart_joins_the_rest_and_entries_that_meet_are_summed() -> None:
    ours, theirs, _ = signals()
    one = torch.tensor([[[0, 0]], [[-1, -1]]])
    mapped = theirs.need("mapped").clone()
    first = mapped[0, 0].tolist()
    mapped[0, 0] = torch.tensor([first[0], first[0], -1, first[3]])
    p = torch.softmax(theirs.need("logits")[0, 0], -1)[torch.tensor(first)]
    told = torch.stack([p[0] + p[1], p[3], 1 - p[0] - p[1] - p[3]])
    q = torch.softmax(ours.need("logits")[0, 0], -1)[torch.tensor([first[0], first[3]])]
    said = torch.cat([q, 1 - q.sum(0, keepdim=True)])
    alone = ours.nll[0, 1:].sum() + ours.nll[1, :3].sum()
    expected = (told * (told / said).log()).sum() + alone
    loss = Minced(positions="start")
    found = loss(ours, replace(theirs, mapped=mapped), one)
    assert found.item() == pytest.approx(expected.item())
    assert loss(ours, replace(theirs, mapped=torch.full_like(mapped, V + 3)), one).isfinite()  # beyond the pivot


def test_the_source_that_predicts_the_labels_has_the_sequence() -> None:
    ours, theirs, pairs = signals()
    logits = theirs.need("logits").clone()
    for i, j in ((0, 0), (1, 1), (3, 2), (4, 3)):
        logits[0, j, ours.need("labels")[0, i]] += 9  # knows the first sequence
    knows = signal_of(logits, theirs.mask, torch.zeros(2, 4, dtype=torch.long), 4)
    loss = Minced(positions="start")
    scores = torch.stack([loss.scores(ours, s, pairs) for s in (theirs, knows)])
    assert scores[1, 0] < 0.05 < scores[0, 0]
    assert scores[0, 1] == scores[1, 1]
    assert loss.shares(scores).tolist() == [[0, 1], [1, 0]]
    average = Minced(select="average").shares(scores)
    torch.testing.assert_close(average.sum(0), torch.ones(2).double())
    assert average[1, 0] > average[0, 0]
    torch.testing.assert_close(average[:, 0], torch.softmax((-scores[:, 0]).exp(), 0))
    unpaired = loss.scores(ours, theirs, torch.full_like(pairs, -1))
    assert unpaired.isinf().all()


def test_a_label_that_the_source_did_not_keep_has_an_even_part_of_the_rest_among_tokens() -> None:
    """Planted bug: the entries that pad the output layer counted as tokens, so the part was too small."""
    ours, theirs, pairs = signals(k=2)
    ours = replace(ours, tokens=V - 2, labels=torch.full_like(ours.need("labels"), V - 3))
    theirs = replace(theirs, mapped=torch.tensor([0, 1]).expand(2, 4, 2))
    p = torch.softmax(theirs.need("logits"), -1).gather(-1, theirs.need("ids")).sum(-1)
    expected = [-((1 - p[b, :n]) / (V - 2 - 2)).log().mean().item() for b, n in ((0, 4), (1, 2))]
    assert Minced(positions="start").scores(ours, theirs, pairs).tolist() == pytest.approx(expected)


def test_shares_weigh_sequences() -> None:
    ours, theirs, pairs = signals()
    loss = Minced()
    each = [loss.weighed(ours, theirs, pairs, torch.tensor(share)).item() for share in ([1.0, 0], [0, 1.0])]
    assert sum(each) == pytest.approx(loss(ours, theirs, pairs).item())
    mixed = loss.weighed(ours, theirs, pairs, torch.tensor([0.25, 0.5])).item()
    assert mixed == pytest.approx(0.25 * each[0] + 0.5 * each[1])


def test_across_vocabularies_through_the_whole_path(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources of other tokenizers are carried over; the shares of a sequence sum to 1."""
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "maps"))
    terms = (
        TermSpec(loss="minced", weight=1),
        TermSpec(loss="gld", weight=1, options=NAMED),
    )
    sources = tuple(SourceSpec(name=name, checkpoint=models[name]) for name in ("llama", "qwen2", "twin"))
    recipe = make_recipe(sources=sources, terms=terms)
    fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / ".state")
    assert set(fusion.loss.maps) == {f"{s}/{loss}" for s in ("llama", "qwen2") for loss in ("minced", "gld")}
    table = fusion.loss.maps["llama/minced"]
    llama = LiveSource("llama", models["llama"], 4, 128)
    assert len(table) == llama.vocabulary
    both = [(i, int(j)) for i, j in enumerate(table) if j >= 0]
    same = [fusion.tokenizer.decode([j]) == llama.tokenizer.decode([i]) for i, j in both]
    assert sum(same) > 0.5 * len(same)
    batch = fusion.data.batch(range(10))
    values = forward(fusion, fusion.model, batch, fusion.loss.counts([batch]))
    assert all(value.isfinite() and value >= 0 for value in values)
    assert sum(value.item() for name, value in zip(fusion.loss.names, values, strict=True) if "minced" in name) > 0.1
    read = {
        n: (fusion.loss._translated(t, batch.sources[t.source][0]), batch.sources[t.source][1])
        for n, t in zip(fusion.loss.names[1:], fusion.loss.terms, strict=True)
    }
    seen: list[PivotSignal] = []
    scores = Minced.scores
    monkeypatch.setattr(Minced, "scores", lambda self, *given: seen.append(given[0]) or scores(self, *given))
    shares = fusion.loss._shares(fusion.model(batch.inputs), read)
    assert {(one.tokens, one.vocabulary) for one in seen} == {(len(fusion.tokenizer), len(fusion.tokenizer) + 8)}
    assert set(shares) == {"llama/minced", "qwen2/minced", "twin/minced"}
    torch.testing.assert_close(torch.stack(list(shares.values())).sum(0), torch.ones(10))
    fuse(recipe, tmp_path / "out")


def test_accumulation_does_not_change_who_has_a_sequence(
    make_recipe: Callable[..., Recipe], models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "maps"))
    fusion = prepare(
        make_recipe(terms=(TermSpec(loss="minced", weight=1),)), Accelerator(cpu=True), tmp_path / ".state"
    )
    whole = [fusion.data.batch(range(10))]
    parts = [fusion.data.batch(range(i, min(i + 3, 10))) for i in range(0, 10, 3)]
    sums = []
    for batches in (whole, parts):
        counts = fusion.loss.counts(batches)
        sums.append(sum(torch.stack(forward(fusion, fusion.model, batch, counts)) for batch in batches))
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-4, atol=1e-6)


def test_a_cache_brings_its_tokenizer(
    make_recipe: Callable[..., Recipe],
    models: dict[str, Path],
    examples: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The checkpoint of a cached source need not be there for its ids to be carried over."""
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "maps"))
    build_cache(models["llama"], tmp_path / "cache", examples, 10, 128)
    terms = (
        TermSpec(loss="minced", weight=1),
        TermSpec(loss="gld", weight=1, options=NAMED),
    )
    values = []
    for spec in ({"checkpoint": models["llama"]}, {"checkpoint": tmp_path / "gone", "cache": tmp_path / "cache"}):
        recipe = make_recipe(sources=(SourceSpec.model_validate({"name": "llama"} | spec),), terms=terms)
        fusion = prepare(recipe, Accelerator(cpu=True), tmp_path / ".state")
        batch = fusion.data.batch(range(10))
        values.append(torch.stack(forward(fusion, fusion.model, batch, fusion.loss.counts([batch]))))
    torch.testing.assert_close(values[0], values[1], rtol=2e-3, atol=1e-4)
