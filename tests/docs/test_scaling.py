"""docs/scaling.md: its figures are those of `gldbench plan`, and Accelerate accepts its launch lines."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from typing import Any

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env
from typer.testing import CliRunner

from gldbench.cli import app
from gldbench.plan.figures import shown
from gldfusion.launch import require_precision
from gldfusion.sharding import Sharding, asked_sharding

PAGE = "docs/scaling.md"


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the table of launch lines: machine -> its other cells."""
    cells = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if "`--hard" in line
    ]
    return {own[0]: own[1:] for own in cells}


@pytest.mark.parametrize("machine", [pytest.param("1 GPU", marks=pytest.mark.slow), "8 GPUs", "4 nodes"])
def test_the_figures_are_those_of_the_plan(section: Any, machine: str) -> None:
    options, result, memory, hours = rows(section(PAGE, "## Launch lines"))[machine]
    printed = CliRunner().invoke(app, ["plan", "paper", *shlex.split(options.strip("`")), "--json"])
    plan = json.loads(printed.stdout)
    change = plan["cheapest_change"]
    fitting = change or {
        "peak_memory": plan["peak_memory"],
        "hours": plan["figures"]["hours of the training"]["value"],
    }
    assert result == (f"does not fit; fits with {change['change']}" if change else "fits")
    assert memory == shown(fitting["peak_memory"], "B")
    assert hours == shown(fitting["hours"], "h")


def launch_lines(text: str, blocks: Any) -> list[str]:
    """The arguments of `accelerate launch` in the fenced blocks of a section."""
    return [
        line.replace("$SLURM_NODEID", "0").replace("$HEAD", "node0")
        for block in blocks(text)
        for line in re.findall(r"accelerate launch ([^'\n]+)", block.text)
    ]


def test_accelerate_accepts_the_launch_lines(section: Any, blocks: Any) -> None:
    lines = launch_lines(section(PAGE, "## Launch lines"), blocks)
    assert len(lines) == 3
    parsed = [launch_command_parser().parse_args(shlex.split(line)) for line in lines]
    for known in parsed:
        assert (known.module, known.training_script) == (True, "gldbench.cli")
        assert known.training_script_args == ["fuse", "recipe.yaml", "--output", "fused"]
    assert (parsed[2].num_machines, parsed[2].num_processes, parsed[2].use_fsdp) == (4, 32, True)


@pytest.mark.parametrize("number", [1, 2])
def test_fuse_reads_fsdp2_from_what_the_launcher_sets(
    section: Any, blocks: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = launch_lines(section(PAGE, "## Launch lines"), blocks)[number]
    given = launch_command_parser().parse_args(shlex.split(line))
    checked, _, _ = _validate_launch_command(given)
    for name, value in prepare_multi_gpu_env(checked).items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)
    assert asked_sharding() == Sharding(reshard=True, offload=False)
    require_precision("bf16")  # the launcher leaves the precision to the recipe


def test_bash_accepts_the_script_of_slurm(section: Any, blocks: Any) -> None:
    (script,) = [b.text for b in blocks(section(PAGE, "## Launch lines")) if b.text.startswith("#!/bin/bash")]
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    inner = re.search(r"srun bash -c '([^']+)'", script)
    assert inner is not None
    assert subprocess.run(["bash", "-n"], input=inner[1], text=True).returncode == 0
