"""The files of the report, and its short forms."""

from __future__ import annotations

import contextlib
import dataclasses
import html.parser
import json
import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from gldbench.env import claim
from gldbench.report import analyse, names, read_run, summary_json, summary_table, trainings, write_report
from gldbench.report.figures import draw_all
from gldbench.report.gate import CAN
from gldbench.report.training import Spread, curves
from gldbench.schema import Row
from gldbench.spec import unit_of
from gldbench.store import Store
from gldfusion.errors import InputError


def test_training_numbers(rows: list[Row]) -> None:
    by_method = {training.method: training for training in trainings(rows)}
    uld = by_method["sft+uld"]
    assert uld.totals["seconds"] == Spread(23.0, 22.0, 24.0, 3)
    assert uld.coverage["source-b"].mean == pytest.approx(0.71)
    assert list(uld.shares) == ["sft", "uld"]
    assert uld.shares["uld"].mean == pytest.approx(0.32)
    late = [
        r.value for r in rows
        if (r.method, r.metric) == ("sft+uld", "loss/uld") and r.item != "total" and int(r.item) >= 135
    ]  # fmt: skip
    assert uld.losses["uld"].mean == pytest.approx(np.mean([v for v in late if v is not None]))
    assert by_method["pivot"].totals["truncated_examples"].mean == 0


def test_a_curve_has_a_point_for_each_step_of_its_own_method(made: SimpleNamespace, rows: list[Row]) -> None:
    """The bins of a fusion of 150 steps do not come from a model of the world that trained for 5000."""
    longer = made.row(suite="training", method="control", subject="control", metric="loss/sft", item="5000", value=1.0)
    found = curves([*rows, longer], "loss/sft")
    curve = found["sft"]
    assert list(curve.steps) == list(range(1, 151))
    first = [r.value for r in rows if (r.method, r.metric, r.item) == ("sft", "loss/sft", "1") and r.value is not None]
    assert curve.mean[0] == pytest.approx(np.mean(first))
    assert (curve.low[0], curve.high[0]) == pytest.approx((min(first), max(first)))


def test_a_longer_curve_bins_its_steps_and_keeps_seeds_apart(made: SimpleNamespace) -> None:
    rows = [
        made.row(suite="training", metric="loss", item=str(step), seed=seed, value=float(step + seed))
        for step in range(1, 1000)
        for seed in (0, 2)
    ]
    curve = curves(rows, "loss")["sft"]
    assert len(curve.steps) == 250
    assert (curve.steps[0], curve.steps[1]) == (2.0, 5.5)
    assert (curve.low[1], curve.mean[1], curve.high[1]) == (5.5, 6.5, 7.5)


def test_no_mark_is_cut_by_the_axis(made: SimpleNamespace) -> None:
    """A method at the lowest possible score has a whole mark in the figure of the means."""
    rows = made.world_rows(made.skill | {"sft+kl-shuffled": 0.0}, items=20, variants=("test",))
    rows = [dataclasses.replace(r, value=0.0) if r.method == "sft+kl-shuffled" else r for r in rows]
    analysis = analyse(rows, made.spec, made.chance)
    (figure,) = (made for made in draw_all(analysis, rows, ()) if made.name == "means")
    plot = re.search(r'<g id="means-patch_2">\s*<path d="M ([\d.]+) [\d.]+\s+L ([\d.]+)', figure.svg)
    assert plot is not None
    marks = [
        float(x)
        for x in re.findall(r'<use [^>]*xlink:href="[^"]*" x="([\d.]+)" y="[\d.]+" style="[^"]*stroke', figure.svg)
    ]
    assert marks
    assert min(marks) - float(plot[1]) > 3


class Page(html.parser.HTMLParser):
    """Open tags, ids and outward references of a page."""

    void = ("meta", "br", "img", "link", "wbr", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [value for name, value in found.items() if name == "id" and value]
        self.links += [value for name, value in found.items() if name in ("href", "src", "xlink:href") and value]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def write_run(folder: Path, made: SimpleNamespace, rows: list[Row]) -> None:
    """Writes the folder that `gldbench run` would leave: one unit of rows for each checkpoint."""
    claim(folder, made.environment, yaml.safe_dump(made.spec))
    subjects: dict[str, list[Row]] = {}
    for row in rows:
        subjects.setdefault(row.subject, []).append(row)
    for subject, own in subjects.items():
        Store(folder).append_rows(own, unit_of(subject))


def build(folder: Path, chance: dict[str, float]) -> None:
    run = read_run(folder)
    write_report(run, analyse(run.rows, run.spec, chance), folder / "report")


@pytest.fixture(scope="module")
def run_dir(made: SimpleNamespace, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    write_run(folder, made, rows)
    build(folder, made.chance)
    return folder


def test_the_page_is_whole_and_stands_alone(run_dir: Path) -> None:
    text = (run_dir / "report/index.html").read_text()
    page = Page(text)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.findall(r"@import|url\((?!#)", text)
    used, defined = set(re.findall(r"var\((--[\w-]+)", text)), set(re.findall(r"(--[\w-]+):", text))
    assert used <= defined
    order = [
        "scores",
        "differences-to-baseline",
        "gate",
        "world",
        "training",
        "cost",
        "answers",
        "harder",
        "provenance",
    ]
    places = [text.index(f'<section id="{name}"') for name in [*order, "not-measured"]]
    assert places == sorted(places)


def test_the_report_says_what_it_must(made: SimpleNamespace, run_dir: Path) -> None:
    for name in ("index.html", "report.md"):
        text = (run_dir / "report" / name).read_text()
        for words in (
            CAN,
            "Three seeds are too few to claim significance",
            "World variance is not measured: the run has one world seed",
            "GPU time and memory: not measured",
            made.environment.env_id,
            str(made.environment.commit),
            made.environment.cpu,
            "equal on every item",
            "oracle routing",
            "35% of the labels",
        ):
            assert words in text, (name, words)


def test_the_answer_comes_first_and_the_gate_after_it(run_dir: Path) -> None:
    for name in ("index.html", "report.md"):
        text = (run_dir / "report" / name).read_text()
        assert 0 < text.index("sft+uld+gld scores above sft (+") < text.index("World gate: This world can discriminate")


def test_the_page_links_the_items_only_if_they_are_there(made: SimpleNamespace, run_dir: Path, tmp_path: Path) -> None:
    assert "items.html" not in (run_dir / "report/index.html").read_text()
    run = read_run(run_dir)
    paths = write_report(run, analyse(run.rows, run.spec, made.chance), tmp_path, items="items.html")
    assert '<a href="items.html">' in paths.html.read_text()


def test_tables_name_the_kind_of_their_intervals_and_explain_their_ranges(run_dir: Path) -> None:
    text = (run_dir / "report/report.md").read_text()
    kinds = (
        "hierarchical bootstrap over 3 seeds and the items, widened by Student's t",
        "Wilson's interval over the items (one checkpoint, or equal scores)",
        "bootstrap over the items (one checkpoint)",
    )
    for kind in kinds:
        assert kind in text, kind
    assert '"out of range" means: a pivot below 5 has hardly learned the family' in text


def test_markdown_names_the_figures_that_are_there(run_dir: Path) -> None:
    named = set(re.findall(r"\((figures/[\w-]+\.png)\)", (run_dir / "report/report.md").read_text()))
    there = {f"figures/{path.name}" for path in (run_dir / "report/figures").iterdir()}
    assert named == there
    expected = {
        "means",
        "differences",
        "loss",
        "loss-sft",
        "loss-uld",
        "loss-gld",
        "loss-kl",
        "gradient-shares",
        "time",
        "memory",
        "pareto",
    }
    assert {Path(path).stem for path in there} == expected


def test_loss_curves_are_of_fused_methods(run_dir: Path) -> None:
    """The world's own models log a loss too; it is not of the fusion."""
    text = (run_dir / "report/report.md").read_text()
    (alt,) = re.findall(r"!\[(.*?)\]\(figures/loss-sft\.png\)", text)
    assert re.findall(r"([\w+-]+) ends at", alt) == ["sft", "sft+uld", "sft+uld+gld", "sft+kl"]


def test_the_same_rows_give_the_same_bytes(made: SimpleNamespace, run_dir: Path) -> None:
    files = [path for path in (run_dir / "report").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    (run_dir / "report/figures/stale.png").write_bytes(b"")
    build(run_dir, made.chance)
    assert {path: path.read_bytes() for path in (run_dir / "report").rglob("*") if path.is_file()} == before


def test_summaries_agree_with_the_analysis(made: SimpleNamespace, rows: list[Row]) -> None:
    analysis = analyse(rows, made.spec, made.chance)
    table = summary_table(analysis)
    assert all(len(line) == len(table["columns"]) for line in table["rows"])
    assert [line[0] for line in table["rows"]][:2] == ["pivot", "source-a"]
    found = json.loads(json.dumps(summary_json(analysis, trainings(rows), made.environment), allow_nan=False))
    assert found["gate"]["verdict"] == CAN
    assert found["ranked"] is True
    sft = next(line for line in found["methods"] if line["method"] == "sft")
    line = next(line for line in table["rows"] if line[0] == "sft")
    assert line[2] == f"{100 * sft['mean']['corrected']['value']:.1f}"
    assert {line["method"] for line in found["harder"]} == {line["method"] for line in found["methods"]}
    permuted = next(d for d in found["control_differences"] if d["baseline"] == "sft+uld+gld-permuted")
    assert (permuted["difference"]["low"], permuted["difference"]["high"]) == (0, 0)
    assert "0.25" in permuted["reason"]


def test_a_folder_without_its_parts_is_refused(made: SimpleNamespace, rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="environment of the run not found"):
        build(tmp_path, made.chance)
    other = dataclasses.replace(made.environment, env_id="elsewhere")
    (tmp_path / "environment.json").write_text(json.dumps(dataclasses.asdict(other)))
    with pytest.raises(InputError, match="spec not found"):
        build(tmp_path, made.chance)
    write_run(tmp_path, SimpleNamespace(environment=other, spec=made.spec), rows)
    with pytest.raises(InputError, match=r"rows of environment 1f2e3d4c5b6a, but environment.json says elsewhere"):
        build(tmp_path, made.chance)
    assert not (tmp_path / "report").exists()


@pytest.fixture
def copy(run_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path / "copy"))


def test_the_report_opens_no_tag_and_changes_no_terminal(made: SimpleNamespace, run_dir: Path, tmp_path: Path) -> None:
    run = read_run(run_dir)
    run.spec["title"] = "A <script>alert(1)</script> \x1b[31mtitle, 1 < 2"
    write_report(run, analyse(run.rows, run.spec, made.chance), tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "# A &lt;script>alert(1)&lt;/script> \\x1b[31mtitle, 1 < 2\n" in text
    for name in ("report.md", "index.html"):
        assert "<script>alert" not in (tmp_path / name).read_text()
        assert "\x1b" not in (tmp_path / name).read_text()


def test_a_report_without_all_results_is_refused_or_says_so(made: SimpleNamespace, copy: Path) -> None:
    gone = next(path for path, unit in Store(copy)._parts("rows") if unit == unit_of("sft+kl-seed1"))
    gone.unlink()
    with pytest.raises(InputError, match=rf"{gone.name} is missing"):
        read_run(copy)
    (copy / "manifest.json").unlink()  # the loss is noticed without the list, too
    with pytest.raises(InputError, match=r"no rows of 1 of the \d+ checkpoints .*: sft\+kl-seed1\n.*--partial"):
        read_run(copy)
    part = read_run(copy, partial=True)
    assert part.missing == ("sft+kl-seed1",)
    paths = write_report(part, analyse(part.rows, part.spec, made.chance), copy / "report")
    for path in (paths.html, paths.markdown):
        assert "results of 1 checkpoints that the spec asks for are missing (sft+kl-seed1)" in path.read_text()


def test_rows_that_the_spec_does_not_ask_for_are_refused(made: SimpleNamespace, copy: Path) -> None:
    Store(copy).append_rows([made.row(subject="other-seed0")], unit_of("other-seed0"))
    with pytest.raises(InputError, match=r"rows that its spec.yaml does not ask for: 'evaluated other-seed0'"):
        read_run(copy)


@pytest.mark.parametrize("name", ["spec.yaml", "environment.json"])
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_spec_or_environment_is_named(copy: Path, name: str, listed: bool, seed: int) -> None:
    """Without a manifest a flipped bit may go unnoticed, but it never ends in another error."""
    content = bytearray((copy / name).read_bytes())
    bit = random.Random(seed).randrange(len(content) * 8)
    content[bit // 8] ^= 1 << bit % 8
    (copy / name).write_bytes(content)
    if listed:
        with pytest.raises(InputError, match=f"{name} is damaged: expected the checksum"):
            read_run(copy)
        return
    (copy / "manifest.json").unlink()
    with contextlib.suppress(InputError):
        read_run(copy)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_marks_stand_out_on_both_backgrounds() -> None:
    """WCAG asks for a contrast of 3 for graphics."""
    for light, dark in names.DARK.items():
        if light in (names.RULE, names.PAPER):
            continue
        for colour, paper in ((light, names.PAPER), (dark, names.DARK[names.PAPER])):
            pair = sorted((luminance(colour), luminance(paper)))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 3, colour


def test_a_method_keeps_its_colour_and_controls_share_it() -> None:
    alone, together = (
        names.styles(["sft+uld"]),
        names.styles(["sft", "sft+uld", "sft+new", "sft+uld-shuffled"]),
    )
    assert alone["sft+uld"] == together["sft+uld"]
    assert together["sft+uld-shuffled"].colour == together["sft+uld"].colour
    assert together["sft+uld-shuffled"].hollow
    assert together["sft+new"].colour in names.SPARE_COLOURS
