"""What this machine has, and what is missing for which work."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from gldbench import sandbox
from gldbench.env import environment
from gldbench.spec import SPECS
from gldbench.tasks import task_names

GIGABYTE = 10**9


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    name: str
    status: Literal["ok", "absent", "broken"]
    """absent: optional, or only some work needs it; broken: nothing will run"""
    found: str
    advice: str = ""


def examine(folder: Path) -> list[Finding]:
    """Looks at the environment; `folder` is where runs would be written."""
    cores = os.cpu_count() or 1
    env = environment(threads=1, workers=cores)
    findings = [
        Finding("python", "ok", env.python),
        Finding("cpu", "ok", f"{env.cpu}, {cores} cores: {cores} workers, one thread each"),
    ]
    findings += [_package(name, env.packages) for name in ("torch", "transformers", "accelerate", "lm-eval", "POT")]
    findings += [_vllm(), _gpu(env.device, env.driver)]
    findings += [look(folder) for look in (_disk, _data, _sandbox)]
    findings.append(Finding("specs", "ok", ", ".join(sorted(p.stem for p in SPECS.glob("*.yaml")))))
    findings.append(Finding("tasks", "ok", f"{len(task_names())} in tasks/"))
    commit = (
        f"{env.commit[:12]}{' with uncommitted changes' if env.dirty else ''}" if env.commit else "not a git checkout"
    )
    findings.append(Finding("commit", "ok", commit))
    return [*findings, Finding("env_id", "ok", env.env_id)]


def _package(name: str, packages: dict[str, str]) -> Finding:
    if name in packages:
        return Finding(name, "ok", packages[name])
    if name == "POT":
        return Finding(name, "absent", "not installed", "only `gldbench gw` needs it: pip install 'gldbench[gw]'")
    return Finding(name, "broken", "not installed", "run `make setup`")


def _vllm() -> Finding:
    label = "--backend vllm is not measured: it was only tested against a stand-in"
    if find_spec("vllm"):
        return Finding("vllm", "ok", "installed", label)
    return Finding("vllm", "absent", "not installed", f"only --backend vllm needs it; {label}")


def _gpu(device: str, driver: str | None) -> Finding:
    if driver is None:
        return Finding("gpu", "absent", "none", "GPU columns of reports will say: not measured")
    return Finding("gpu", "ok", f"{device}, driver {driver}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    status = "ok" if free > GIGABYTE else "broken"
    return Finding(
        "disk", status, f"{free / GIGABYTE:.1f} GB free at {folder}", "" if status == "ok" else "the demo needs 1 GB"
    )


def _data(folder: Path) -> Finding:
    place = os.environ.get("GLDBENCH_DATA")
    if place and Path(place).is_dir():
        return Finding("benchmark data", "ok", place)
    return Finding(
        "benchmark data",
        "absent",
        "GLDBENCH_DATA is not set",
        "only `gldbench eval` on real benchmarks needs it: pass --data DIR or --data hub",
    )


def _sandbox(folder: Path) -> Finding:
    reason = sandbox.trouble()
    if not reason:
        return Finding("sandbox", "ok", f"bubblewrap works: {shutil.which('bwrap')}")
    return Finding(
        "sandbox",
        "absent",
        reason,
        "only code benchmarks need it: `make system` installs bubblewrap; --unsafe-code does without",
    )


def print_findings(findings: list[Finding]) -> None:
    """One line per finding."""
    marks = {"ok": "ok    ", "absent": "absent", "broken": "BROKEN"}
    for finding in findings:
        advice = f"  ({finding.advice})" if finding.advice else ""
        print(f"{marks[finding.status]}  {finding.name:<15} {finding.found}{advice}")
