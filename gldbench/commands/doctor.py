"""`gldbench doctor`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer

from gldbench.commands.options import Json, print_json


def doctor(as_json: Json = False) -> None:
    """List what this machine has (versions, device, threads, disk space), and what is missing for which work."""
    from gldbench.doctor import examine, print_findings

    findings = examine(Path.cwd())
    if as_json:
        print_json([dataclasses.asdict(f) for f in findings])
    else:
        print_findings(findings)
    if any(f.status == "broken" for f in findings):
        raise typer.Exit(1)
