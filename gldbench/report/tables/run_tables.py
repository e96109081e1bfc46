"""The tables made from training logs, the spec and the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gldbench.report import names
from gldbench.report.tables.table import NONE, Cell, Line, Table
from gldbench.report.training import Spread, Training
from gldbench.schema import Environment
from gldfusion.files import hash_json


def training_table(trained: Sequence[Training]) -> Table:
    """The final loss of each term of each fused method, and the term's share of the gradient."""
    fused = [t for t in trained if t.losses and names.group_of(t.method) != "reference"]
    terms = names.in_term_order({term for t in fused for term in t.losses})

    def cell(t: Training, term: str) -> Cell:
        if term not in t.losses:
            return Cell(NONE, kind="dim")
        share = f"{t.shares[term].mean:.0%} of the gradient" if term in t.shares else ""
        return Cell(f"{t.losses[term].mean:#.3g}".rstrip("."), share)

    caption = (
        "Each value is the mean of the weighted term over the last tenth of the training steps. The percentage is the "
        "term's mean share of the gradient norm."
    )
    lines = tuple(_line(t, [cell(t, term) for term in terms]) for t in fused)
    return Table("training-terms", caption, ("method", *(f"{term} term" for term in terms)), lines)


def cost_table(trained: Sequence[Training], environment: Environment) -> Table:
    """The cost of training one checkpoint of each method. The column of the unused device says "not measured"."""
    here, other = ("CPU", "GPU") if environment.device == "cpu" else ("GPU", "CPU")

    def line(t: Training) -> Line:
        cells = [
            _spread(t.totals.get("seconds"), lambda x: f"{x:,.0f} s"),
            _spread(t.totals.get("peak_memory_bytes"), lambda x: f"{x / 2**20:,.0f} MiB"),
            Cell("not measured", kind="dim"),
            _spread(t.totals.get("tokens"), lambda x: f"{x / 1e6:,.2f}"),
            _spread(t.totals.get("flops"), lambda x: f"{x / 1e12:,.2f}"),
            _spread(t.totals.get("truncated_examples"), lambda x: f"{x:,.0f}"),
        ]
        return _line(t, cells)

    heads = ("method", f"time, {here}", f"peak memory, {here}", other, "tokens (10⁶)", "FLOPs (10¹²)", "examples cut")
    caption = (
        "Cost of training one checkpoint, as the mean over seeds. If the seeds differ, the lowest and the highest seed "
        "follow."
    )
    return Table("costs", caption, heads, tuple(line(t) for t in trained if t.totals))


def coverage_table(trained: Sequence[Training]) -> Table:
    """The share of the pivot's labelled positions that are paired with each source."""
    sources = sorted({source for t in trained for source in t.coverage})
    lines = tuple(
        _line(t, [_spread(t.coverage.get(source), lambda x: f"{x:.0%}") for source in sources])
        for t in trained
        if t.coverage
    )
    caption = "Share of the pivot's labelled positions that are paired with a position in the source's tokens."
    return Table("coverage", caption, ("method", *sources), lines)


def provenance_table(
    run_id: str, spec: Mapping[str, Any], environment: Environment, trained: Sequence[Training]
) -> Table:
    """The spec, the code, the machine and the package versions that the numbers come from."""
    seconds = sum(t.totals["seconds"].mean * t.totals["seconds"].n for t in trained if "seconds" in t.totals)
    dirty = {True: "with uncommitted changes", False: "no uncommitted changes", None: "state unknown"}[
        environment.dirty
    ]
    facts = {
        "run": run_id,
        "spec": f"SHA-256 {hash_json(spec)}",
        "commit": f"{environment.commit or 'unknown'}, {dirty}",
        "environment": environment.env_id,
        "device": environment.device + (f", driver {environment.driver}" if environment.driver else ""),
        "CPU": environment.cpu,
        "threads": ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in environment.threads.items()),
        "Python": environment.python,
        "packages": ", ".join(f"{name} {version}" for name, version in environment.packages.items()),
        "training time": f"{seconds:,.0f} s, summed over all checkpoints",
    }
    return Table("provenance", "", ("", ""), tuple(Line(name, (Cell(text),)) for name, text in facts.items()))


def _spread(spread: Spread | None, form: Callable[[float], str]) -> Cell:
    """The mean over seeds, with the lowest and highest seed below it if their texts differ."""
    if spread is None:
        return Cell(NONE, kind="dim")
    low, high = form(spread.low), form(spread.high)
    return Cell(form(spread.mean), f"{low} to {high}" if low != high else "")


def _line(t: Training, cells: Sequence[Cell]) -> Line:
    return Line(names.label_of(t.method), tuple(cells), names.GROUPS[names.group_of(t.method)], t.method)
