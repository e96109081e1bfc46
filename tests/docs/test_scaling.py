"""docs/scaling.md: its figures are those of `gldbench plan`, and Accelerate accepts its launch lines."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser
from typer.testing import CliRunner

from gldbench.cli import app
from gldbench.plan.figures import shown

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


def test_accelerate_accepts_the_launch_lines(section: Any, blocks: Any) -> None:
    lines = [
        line
        for block in blocks(section(PAGE, "## Launch lines"))
        for line in re.findall(r"accelerate launch ([^'\n]+)", block.text)
    ]
    assert len(lines) == 3
    parser = launch_command_parser()
    for line in lines:
        known = parser.parse_args(shlex.split(line.replace("$SLURM_NODEID", "0")))
        assert (known.module, known.training_script) == (True, "gldbench.cli")
        assert known.training_script_args == ["fuse", "recipe.yaml", "--output", "fused"]
    assert (known.num_machines, known.num_processes, known.use_fsdp) == (4, 32, True)
