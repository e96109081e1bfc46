"""Examines the machine: what is installed, and what is missing for which work. Imports no model code."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from gldbench import overlay, sandbox
from gldbench.env import environment
from gldbench.spec import SPECS
from gldbench.tasks import task_names
from gldfusion.errors import InputError

GIGABYTE = 10**9


@dataclass(frozen=True)
class Finding:
    """The result for one part of the machine."""

    name: str
    status: Literal["ok", "absent", "broken"]
    """absent: only some work needs it; broken: nothing runs without it"""
    found: str
    advice: str = ""
    """which work needs it, and how to get it"""


def examine(folder: Path) -> list[Finding]:
    """Examines the machine.

    Args:
        folder: the folder where runs would be written.
    """
    cores = os.cpu_count() or 1
    env = environment(threads=1, workers=cores)
    findings = [
        Finding("python", "ok", env.python),
        Finding("cpu", "ok", f"{env.cpu}, {cores} cores: `gldbench run` starts {cores} workers with one thread each"),
    ]
    findings += [_package(name, env.packages) for name in ("torch", "transformers", "accelerate", "lm-eval", "POT")]
    findings += [_vllm(), _gpu(env.device, env.driver)]
    findings += [_disk(folder), _data(), _sandbox(), _opencompass()]
    findings.append(Finding("specs", "ok", ", ".join(sorted(p.stem for p in SPECS.glob("*.yaml")))))
    findings.append(Finding("tasks", "ok", f"{len(task_names())}; `gldbench tasks list` shows them"))
    commit = (
        f"{env.commit[:12]}{' with uncommitted changes' if env.dirty else ''}" if env.commit else "not a git checkout"
    )
    findings.append(Finding("commit", "ok", commit))
    return [*findings, Finding("env_id", "ok", env.env_id)]


def _package(name: str, packages: dict[str, str]) -> Finding:
    if name in packages:
        return Finding(name, "ok", packages[name])
    if name == "POT":
        return Finding(
            name, "absent", "not installed", "only `gldbench gw` needs it; install it with pip install 'gldbench[gw]'"
        )
    return Finding(name, "broken", "not installed", "install it with `make setup` or pip install gldbench")


def _vllm() -> Finding:
    label = "`gldbench eval --backend vllm` needs it. It was only tested with a stand-in for vLLM"
    if find_spec("vllm"):
        return Finding("vllm", "ok", "installed", label)
    return Finding("vllm", "absent", "not installed", f"only {label}")


def _gpu(device: str, driver: str | None) -> Finding:
    if driver is None:
        return Finding("gpu", "absent", "none", 'reports say "not measured" in their GPU columns')
    return Finding("gpu", "ok", f"{device}, driver {driver}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    status = "ok" if free > GIGABYTE else "broken"
    return Finding(
        "disk",
        status,
        f"{free / GIGABYTE:.1f} GB free at {folder}",
        "" if status == "ok" else "`gldbench run tiny` needs 1 GB",
    )


def _data() -> Finding:
    place = os.environ.get("GLDBENCH_DATA")
    if place and Path(place).is_dir():
        return Finding("benchmark data", "ok", place)
    return Finding(
        "benchmark data",
        "absent",
        "GLDBENCH_DATA is not set",
        "only `gldbench eval` on real benchmarks needs data: set it, or use --data DIR or --data hub",
    )


def _sandbox() -> Finding:
    reason = sandbox.trouble()
    if not reason:
        return Finding("sandbox", "ok", f"bubblewrap works: {shutil.which('bwrap')}")
    return Finding(
        "sandbox",
        "absent",
        reason,
        "only code benchmarks need it; `make system` installs bubblewrap, --unsafe-code runs code without it",
    )


def _opencompass() -> Finding:
    """Whether the overlay environment is there, and whether OpenCompass answers in it."""
    place = overlay.default_place()
    advice = f"only `--harness opencompass` needs it; {overlay.FIX}"
    if reason := overlay.trouble(place):
        return Finding("opencompass", "absent", reason, advice)
    try:
        return Finding("opencompass", "ok", f"{overlay.answer(place)} answers in {place}")
    except InputError as error:
        return Finding("opencompass", "absent", str(error).partition("\n")[0], advice)


def print_findings(findings: list[Finding]) -> None:
    """Prints one line for each finding."""
    marks = {"ok": "ok    ", "absent": "absent", "broken": "BROKEN"}
    for finding in findings:
        advice = f"  ({finding.advice})" if finding.advice else ""
        print(f"{marks[finding.status]}  {finding.name:<15} {finding.found}{advice}")
