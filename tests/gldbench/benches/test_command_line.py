"""The command lines of the benchmark scripts: bad arguments, help, and a quick run of each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch

from gldbench.benches import (
    along_training,
    cache,
    coverage,
    cross_entropy,
    equality,
    generation,
    gpu_report,
    startup,
    steps,
    uld,
)

ChainMaker = Callable[..., Path]
SCRIPTS: dict[ModuleType, str] = {
    cross_entropy: "run",
    uld: "run",
    equality: "table",
    steps: "run",
    gpu_report: "measure",
    cache: "run",
    coverage: "_byte_bpe",
    generation: "open_checkpoint",
    along_training: "built",
    startup: "run",
}
"""script -> the function in which its work begins"""
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="no CUDA device is what it tests")


@pytest.fixture(autouse=True)
def no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLDBENCH_DATA", raising=False)


def worked(*_: Any, **__: Any) -> Any:
    raise AssertionError("the work began before all arguments were checked")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, str]:
    """Names that stand for paths in the arguments below."""
    (tmp_path / "file").touch()
    (tmp_path / "caches" / "values").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "model" / name).write_text("{}")
    places = {name.upper(): str(tmp_path / name) for name in ("file", "caches", "absent", "model")}
    return places | {"EMPTY": str(tmp_path)}


BAD = [
    (cross_entropy, "--repeats 2", "--repeats: expected 0 or at least 7, got 2"),
    (cross_entropy, "--repeats -1", "--repeats: expected a whole number of at least 0, got -1"),
    (cross_entropy, "--positions -1", "--positions: expected a whole number of at least 1, got -1"),
    (cross_entropy, "--width 0", "--width: expected a whole number of at least 1, got 0"),
    (cross_entropy, "--vocabulary many", "--vocabulary: expected a whole number of at least 1, got many"),
    (cross_entropy, "--vocabulary 8 --k 9", "k must not exceed the vocabulary: expected at most 8, got 9"),
    (cross_entropy, "--dtype int8", "--dtype: invalid choice: 'int8'"),
    (cross_entropy, "--threads 0", "--threads: expected a whole number of at least 1, got 0"),
    (cross_entropy, "--device gpu", '--device: expected cpu, cuda or cuda:N, got "gpu"'),
    (cross_entropy, "--device cuda:99", "--device: got cuda:99, but torch finds"),
    (cross_entropy, "--only dense chunkd", 'no contender is called "chunkd" (did you mean "chunked"?)'),
    (cross_entropy, "--output FILE", "--output: cannot write to the folder"),
    (cross_entropy, "--wide 9", "unrecognized arguments: --wide 9"),
    (uld, "--repeats 2", "--repeats: expected a whole number of at least 7, got 2"),
    (uld, "--vocabulary 8", "expected at most 8, got 16"),
    (uld, "--positions 0", "--positions: expected a whole number of at least 1, got 0"),
    (uld, "--device cuda:1x", '--device: expected cpu, cuda or cuda:N, got "cuda:1x"'),
    (uld, "--output FILE", "--output: cannot write to the folder"),
    (equality, "--output FILE", "--output: cannot write to the folder"),
    (equality, "--quickly", "unrecognized arguments: --quickly"),
    (steps, "--length 0", "--length: expected a whole number of at least 1, got 0"),
    (steps, "--only sft sft+ulds", 'no contender is called "sft+ulds" (did you mean "sft+uld"?)'),
    (steps, "--kernel cuda", "--kernel: invalid choice: 'cuda'"),
    (steps, "--output FILE", "--output: cannot write to the folder"),
    (gpu_report, "--device gpu", '--device: expected cpu, cuda or cuda:N, got "gpu"'),
    (gpu_report, "--device cuda:99", "--device: got cuda:99, but torch finds"),
    (gpu_report, "--dry-run --output FILE", "--output: cannot write to the folder"),
    (cache, "--tokens 0", "--tokens: expected a whole number of at least 1, got 0"),
    (cache, "--length -5", "--length: expected a whole number of at least 1, got -5"),
    (cache, "--k 200000", "--k: expected at most 151936"),
    (cache, "--shard 0", "--shard: expected a whole number of at least 1, got 0"),
    (cache, "--repeats 0", "--repeats: expected a whole number of at least 1, got 0"),
    (cache, "--folder FILE", "--folder: cannot write to the folder"),
    (cache, "--folder CACHES", "exists already"),
    (cache, "--output FILE", "--output: cannot write to the folder"),
    (coverage, "", "no data folder"),
    (coverage, "--data ABSENT", "absent is not a folder"),
    (coverage, "--data EMPTY", "benchmark data not found"),
    (coverage, "--data EMPTY --texts 1", "--texts: expected a whole number of at least 2, got 1"),
    (along_training, "--spec comparee", "comparee"),
    (along_training, "--arms sft+ulds sft", 'no method of this spec is called "sft+ulds" (did you mean "sft+uld"?)'),
    (along_training, "--arms sft", "no method learns from a source"),
    (along_training, "--tuned-by EMPTY", "has no tuning.json"),
    (along_training, "--weight sft+gld=1", 'no method of this spec is called "sft+gld"'),
    (along_training, "--weight sft+uld=-1", "--weight: expected METHOD=FACTOR with a number of at least 0"),
    (along_training, "--moments 1", "--moments: expected a whole number of at least 2, got 1"),
    (along_training, "--world-seed x", "--world-seed: invalid int value: 'x'"),
    (along_training, "--output FILE", "--output: cannot write to the folder"),
    (generation, "", "the following arguments are required: CHECKPOINT"),
    (generation, "ABSENT --data EMPTY", "not a checkpoint"),
    (generation, "MODEL", "no data folder"),
    (generation, "MODEL --data EMPTY", "benchmark data not found"),
    (generation, "MODEL --data EMPTY --task gsm8", 'no task is called "gsm8" (did you mean "gsm8k"?)'),
    (generation, "MODEL --data EMPTY --task arc_c_ll", "expected a task whose answers are generated, got arc_c_ll"),
    (generation, "MODEL --data EMPTY --task world_dyck_languages", "are not read from files"),
    (generation, "MODEL --data EMPTY --items 0", "--items: expected a whole number of at least 1, got 0"),
    (generation, "MODEL --data EMPTY --max-tokens 0", "--max-tokens: expected a whole number of at least 1, got 0"),
    (generation, "MODEL --data EMPTY --batch-size 0", "--batch-size: expected a whole number of at least 1, got 0"),
    (generation, "MODEL --data EMPTY --repeats 2", "--repeats: expected a whole number of at least 7, got 2"),
    (startup, "--examples 0", "--examples: expected a whole number of at least 1, got 0"),
    (startup, "--words 7", "--words: expected a whole number of at least 8, got 7"),
    (startup, "--processes 0", "--processes: expected a whole number of at least 1, got 0"),
    (startup, "--only list", 'no way to start is called "list" (did you mean "lists"?)'),
    (startup, "--only again", "--only: again finds the file that file wrote"),
    (startup, "--output FILE", "--output: cannot write to the folder"),
]


@pytest.mark.parametrize(("script", "given", "message"), BAD, ids=[f"{s.__name__[16:]} {g}" for s, g, _ in BAD])
def test_bad_arguments_are_refused_before_the_work(
    script: ModuleType,
    given: str,
    message: str,
    paths: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, SCRIPTS[script], worked)
    monkeypatch.chdir(paths["EMPTY"])
    assert script.main([paths.get(word, word) for word in given.split()]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert len(shown.err.splitlines()) <= 3
    assert shown.out == ""


def test_a_vocabulary_that_is_too_small_is_refused(benchmark_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage.main(["--data", str(benchmark_data), "--size", "300"]) == 2
    assert "--size: expected at least" in capsys.readouterr().err


@NO_CUDA
def test_a_device_that_is_absent_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert uld.main(["--device", "cuda"]) == 2
    assert "got cuda, but torch finds no CUDA device on this machine\nuse --device cpu" in capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__[16:])
def test_help_names_every_option_with_its_default(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"python -m {script.__name__}" in shown
    assert "--json" in shown
    assert "--quick" in shown
    _, _, options = shown.partition("options:")
    described = [part for part in options.split(" --")[1:] if not part.startswith(("json", "quick", "help"))]
    assert [part for part in described if "Default: " not in part] == []


def quick(script: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """The JSON document of a quick run, and what it printed on standard error."""
    assert script.main(["--quick", "--json", *arguments]) == 0
    shown = capsys.readouterr()
    return json.loads(shown.out), shown.err


@pytest.mark.parametrize(
    ("script", "name"),
    [
        (equality, "equality"),
        (uld, "bench_uld.cpu"),
        pytest.param(cross_entropy, "bench_ce.cpu", marks=pytest.mark.slow),
    ],
)
def test_quick_rows_of_kernels(
    script: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    document, progress = quick(script, ["--output", "rows"], capsys)
    assert "its numbers are not those of the reports" in progress
    assert "1/" in progress
    assert sorted(os.listdir("rows")) == [f"{name}.quick.csv", f"{name}.quick.environment.json"]
    frame = pd.read_csv(tmp_path / "rows" / f"{name}.quick.csv")
    committed = pd.read_csv(Path(__file__).resolve().parents[3] / "reports" / "kernels" / f"{name}.csv")
    assert list(frame.columns)[: len(committed.columns)] == list(committed.columns)  # newer fields of `Row` come last
    assert set(frame.metric) <= set(committed.metric)
    assert set(frame.run_id) == {f"{name}.quick"}
    assert len(document["rows"]) == len(frame)
    assert document["file"] == f"rows/{name}.quick.csv"


def test_a_quick_run_writes_no_rows_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    document, _ = quick(equality, [], capsys)
    assert document["file"] is None
    assert os.listdir(tmp_path) == []
    assert equality.main(["--quick"]) == 0
    assert "float32: largest difference" in capsys.readouterr().out


def test_a_quick_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "--tokens",
        "500",
        "--repeats",
        "1",
        "--folder",
        str(tmp_path / "kept"),
        "--output",
        str(tmp_path / "rows"),
    ]
    document, progress = quick(cache, given, capsys)
    assert list(document) == list(cache.KINDS)
    assert document["values"]["tokens"] == 512
    assert document["values"]["bytes_per_token"] < document["all columns"]["bytes_per_token"]
    assert all(found["total_variation"] < 1e-3 for found in document.values())
    assert "3/3 all columns" in progress
    assert sorted(os.listdir(tmp_path / "kept")) == ["all-columns", "values", "values-and-ids"]
    frame = pd.read_csv(tmp_path / "rows" / "bench_cache.quick.csv")
    assert set(frame.suite) == {"cache"}
    assert set(frame.variant) == {"T128 k10"}


@pytest.mark.slow
def test_a_quick_start(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLDFUSION_CACHE", str(tmp_path / "own"))
    given = ["--examples", "1500", "--words", "200", "--output", str(tmp_path / "rows")]
    document, progress = quick(startup, given, capsys)
    assert list(document) == list(startup.KINDS)
    assert all(set(found) == set(startup.UNITS) and min(found.values()) > 0 for found in document.values())
    assert document["file"]["memory"] < document["lists"]["memory"]
    assert document["again"]["processor"] < document["lists"]["processor"]
    assert "3/3 again" in progress
    frame = pd.read_csv(tmp_path / "rows" / "bench_startup.quick.csv")
    assert set(frame.suite) == {"startup"}
    assert set(frame.variant) == {"1500 texts 200 words 2 processes"}
    assert not (tmp_path / "own").exists()
    assert os.environ["GLDFUSION_CACHE"] == str(tmp_path / "own")


def test_a_quick_coverage_table(benchmark_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, _ = quick(coverage, ["--data", str(benchmark_data)], capsys)
    assert len(rows) == 4 * 3 * 5  # ordered pairs, and four families and their sum
    share = {(row["pivot"], row["source"], row["family"]): row["coverage"] for row in rows}
    for kind in ("byte-bpe", "unigram", "wordpiece"):  # every token of ASCII text starts where some character does
        assert share[kind, "characters", "gsm8k"] == 1
        assert 0.1 < share["characters", kind, "gsm8k"] < 0.9
    assert all(0 < value <= 1 for value in share.values())
    assert coverage.main(["--quick", "--data", str(benchmark_data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["pivot", "source", "gsm8k", "humaneval", "math500", "unicode", "all"]
    assert len(lines) == 13


def test_a_quick_comparison_with_plain_lm_eval(
    benchmark_data: Path, chain: ChainMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(chain({"?": "1", "1": "2", ".": "x", "x": "x"}, context=512))
    code = generation.main([model, "--data", str(benchmark_data), "--quick", "--json"])
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["task"], document["items"]) == ("gsm8k", 8)
    assert {name: len(seconds) for name, seconds in document["seconds"].items()} == {"plain": 7, "ours": 7}
    assert document["ratio"] == sorted(document["ratios"])[3]
    assert code == (document["ratio"] > generation.LIMIT)
    assert "2/2 both sides, 7 rounds" in shown.err
