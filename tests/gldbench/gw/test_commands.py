"""`gldbench gw solve`, `gw solvers` and `gw bench` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from gldbench.commands.gw import gw_app
from gldbench.gw.solvers import SOLVERS
from gldfusion.errors import InputError

RUNNER = CliRunner()


def saved(folder: Path, **arrays: np.ndarray) -> list[str]:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return [str(folder / f"{name}.npy") for name in arrays]


def test_solve(tmp_path: Path) -> None:
    z, y = np.array([[0.2, 0.4, 0.6, 0.8, 1.0]]), np.array([[0.1, 0.3, 0.5, 0.7, 0.9]])
    paths = saved(tmp_path, z=z, y=y, c=z.T @ z, d=y.T @ y, p=np.full(5, 0.2), q=np.full(5, 0.2))
    one = json.loads(RUNNER.invoke(gw_app, ["solve", *paths[:2], "--logits", "--json"]).stdout)
    two = json.loads(RUNNER.invoke(gw_app, ["solve", *paths[2:4], "--weights", *paths[4:], "--json"]).stdout)
    for document in (one, two):
        assert document["exact"] == pytest.approx(0.0137, abs=1e-9)
        assert document["ggw_sum"] == pytest.approx(0.55, abs=1e-9)
        assert set(document) >= {"n", "m", "ggw_mean", "lower", "upper", "interval", "why_null", "seconds", "nodes"}
    shown = RUNNER.invoke(gw_app, ["solve", *paths[:2], "--logits", "--solvers", "flb,ggw"]).stdout
    assert "not asked for" in shown
    assert "0.0129" in shown


def test_solve_refuses_what_does_not_fit(tmp_path: Path) -> None:
    z, p = saved(tmp_path, z=np.ones((2, 3)), p=np.ones(3) / 3)
    (tmp_path / "text.npy").write_text("no")
    (tmp_path / "header.npy").write_bytes((tmp_path / "z.npy").read_bytes().replace(b"}", b"{", 1))
    missing = str(tmp_path / "none.npy")
    for arguments, message in (
        ([z, z], "square"),
        ([z, z, "--logits", "--weights", p, p], "leave one"),
        ([z, missing, "--logits"], "graph not found"),
        ([z, z, "--weights", p, missing], "node weights not found"),
        ([z, str(tmp_path / "text.npy"), "--logits"], "cannot read"),
        ([z, str(tmp_path / "header.npy"), "--logits"], "cannot read"),
        ([z, z, "--logits", "--solvers", "flbb"], "did you mean"),
    ):
        result = RUNNER.invoke(gw_app, ["solve", *arguments])
        assert isinstance(result.exception, InputError)
        assert message in str(result.exception)


def test_solvers_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = RUNNER.invoke(gw_app, ["solvers"]).stdout
    entries = json.loads(RUNNER.invoke(gw_app, ["solvers", "--json"]).stdout)
    assert [entry["name"] for entry in entries] == list(SOLVERS)
    assert max(map(len, shown.splitlines())) <= 100
    joined = " ".join(shown.split())
    for entry in entries:
        assert set(entry) == {
            *("name", "kind", "summary", "formula", "source"),
            *("max_nodes", "growth", "package", "missing", "gpu"),
        }
        heading = f"{entry['name']}: {entry['kind']}, up to {entry['max_nodes']:,} nodes"
        for text in (heading, entry["summary"], entry["formula"], entry["source"], entry["missing"]):
            assert text in joined


def test_bench(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        "name: tiny\nbudget: 60\ncases: [{families: [half-step], sizes: [4], solvers: [ggw, slb, sorted, exact]}]"
    )
    arguments = ["bench", str(tmp_path / "b.yaml"), "--output", str(tmp_path / "run")]
    done = RUNNER.invoke(gw_app, arguments)
    assert done.exit_code == 0
    assert "report.md" in done.stdout
    assert json.loads(RUNNER.invoke(gw_app, [*arguments, "--json"]).stdout)["claims"]["half-step"]
    for wrong in (["bench"], ["bench", "x.yaml", "--preset", "quick"], [*arguments, "--pivot", "a.npy"]):
        assert isinstance(RUNNER.invoke(gw_app, wrong).exception, InputError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["solve", "none.npy", "none.npy"], "graph not found"),
        (["bench", "none.yaml"], "bench not found"),
        (["bench", "bad.yaml"], "budgett"),
        (["bench", "--preset", "quik"], 'did you mean "quick"'),
        (["bench", "--preset", "quick", "--pivot", "z.npy"], "--source"),
    ],
)
def test_errors_in_paths_and_yaml_come_without_torch(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nbudgett: 1\ncases: []")
    code = f"import sys; sys.modules['torch'] = None; sys.argv = {['gldbench', 'gw', *arguments]}; "
    command = [sys.executable, "-c", code + "from gldbench.cli import main; main()"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr


def test_the_solvers_come_without_their_optional_packages() -> None:
    code = "import sys, gldbench.gw.solvers; print({'ot', 'ott', 'jax'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_the_bound_of_a_named_solver_counts_in_the_interval(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    graphs = [(a + a.T) / 2 for a in random.normal(size=(2, 5, 5))]
    paths = saved(tmp_path, a=graphs[0], b=graphs[1])
    document = json.loads(RUNNER.invoke(gw_app, ["solve", *paths, "--solvers", "bapg", "--json"]).stdout)
    assert document["other"]["bapg"] == document["interval"][1]
