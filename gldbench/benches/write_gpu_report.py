"""Writes the report of `gpu_report` in Markdown, from its rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from gldbench.benches.measure_kernels import PEAK, SECONDS
from gldbench.schema import Row

TITLES = {
    "equality": "Equality with the naive reference",
    "ce+topk": "Cross-entropy with the k largest logits, forward and backward",
    "ce": "Cross-entropy alone, forward and backward",
    "step": "Whole training steps",
    "gw": "Gromov-Wasserstein bounds, forward and backward",
}


def as_markdown(rows: Sequence[Row], device: str | None, small: bool) -> str:
    """The report.

    Args:
        rows: what was measured, skipped or failed.
        device: name of the GPU; None: nothing ran on a GPU.
        small: the sizes were tiny.
    """
    out = ["# Measured on a GPU", ""]
    if device is None:
        out += [
            "Not measured: no GPU was at hand. The figures below come from a CPU and only show that the command works.",
            "",
        ]
    else:
        out += [f"Device: {device}. Medians of interleaved repeats.", ""]
    if small and device is not None:
        out += ["The sizes are tiny: the figures only show that the command works.", ""]
    for task, title in TITLES.items():
        own = [r for r in rows if r.task == task]
        if own:
            out += [f"## {title}", "", *(_equality(own) if task == "equality" else _table(own)), ""]
    if problems := [r for r in rows if r.status != "ok"]:
        out += ["## Not measured, or failed", ""]
        lines = [f"- {r.task} {r.variant}, {r.subject}: {r.reason} ({r.status})" for r in problems]
        out += [*dict.fromkeys(lines), ""]
    return "\n".join(out)


def _equality(rows: Sequence[Row]) -> list[str]:
    lines = ["| kernel | cases | largest difference | failed |", "| --- | --- | --- | --- |"]
    for name in dict.fromkeys(r.subject for r in rows):
        own = [r for r in rows if r.subject == name]
        worst = max((r.value for r in own if r.value is not None), default=None)
        shown = "not measured" if worst is None else f"{worst:.2g}"
        lines.append(f"| {name} | {len(own)} | {shown} | {sum(r.status == 'error' for r in own)} |")
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    lines = ["| size | what | seconds | peak memory | ratio |", "| --- | --- | --- | --- | --- |"]
    for variant, name, method in dict.fromkeys((r.variant, r.subject, r.method) for r in rows if r.value is not None):
        own = [r for r in rows if (r.variant, r.subject, r.method) == (variant, name, method) and r.value is not None]
        seconds, peaks = _values(own, SECONDS), _values(own, PEAK)
        ratios = [f"{r.value:.3f} of {r.metric.partition('/')[2]}" for r in own if r.metric.startswith(f"{SECONDS}/")]
        if not seconds:  # CPU seconds and their ratios, which only the rows hold
            continue
        shown = f"{median(seconds):.4g} s"
        memory = f"{median(peaks) / 2**20:.0f} MiB" if peaks else ""
        what = f"{name} ({method})" if method else name
        lines.append(f"| {variant} | {what} | {shown} | {memory} | {', '.join(ratios)} |")
    return lines


def _values(rows: Sequence[Row], metric: str) -> list[float]:
    return [r.value for r in rows if r.metric == metric and r.value is not None]
