"""The bench `gradient_scales`: what it calls the pull of a term is a quotient of gradient norms."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from gldbench.benches import gradient_scales
from gldbench.benches.along_training import built
from gldbench.spec import load_spec
from gldfusion.model import quiet

MINI = Path(__file__).parents[1] / "mini.yaml"


@pytest.fixture(scope="module")
def spec_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spec `mini` with one source, and a method whose term is twice as heavy as that of another."""
    content = yaml.safe_load(MINI.read_text())
    del content["world"]["sources"]["source-b"]
    uld = {"loss": "uld", "weight": 0.25}
    content["methods"] = {
        "sft": {},
        "sft+uld": {"terms": [uld]},
        "sft+uld-heavy": {"terms": [uld | {"weight": 0.5}]},
        "sft+uld+gld": {"terms": [uld, {"loss": "gld", "weight": 0.1}]},
    }
    content.pop("gates", None)
    path = tmp_path_factory.mktemp("spec") / "mini.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def worlds(spec_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds")
    with quiet():
        built(load_spec(str(spec_file)), folder, 1, lambda name, done, total: None)
    return folder


def test_the_pull_of_a_term_does_not_depend_on_its_weight(
    spec_file: Path, worlds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--spec", str(spec_file), "--worlds", str(worlds), "--steps", "1", "--output", str(tmp_path)]
    assert gradient_scales.main(given) == 0
    rows = pd.read_csv(tmp_path / "gradient_scales.mini.csv").set_index("method")
    assert list(rows.index) == ["sft+uld+gld", "sft+uld", "sft+uld-heavy"]
    assert list(rows["variant"]) == ["gld", "uld", "uld"], "the last term of each"
    pulls = rows["value"]
    assert pulls["sft+uld"] == pytest.approx(pulls["sft+uld-heavy"], rel=1e-4)
    assert pulls["sft+uld"] > 0
    assert torch.isfinite(torch.tensor(pulls["sft+uld+gld"]))
    printed = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("sft+uld-heavy"))
    assert float(line.split()[-1]) == pytest.approx(pulls["sft+uld+gld"] / pulls["sft+uld"], rel=0.05)


@pytest.mark.parametrize("option", ["--reference", "--arms"])
def test_a_method_without_terms_is_refused(spec_file: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert gradient_scales.main(["--spec", str(spec_file), option, "sft"]) == 2
    assert f"{option}: sft is not trained with terms" in capsys.readouterr().err
