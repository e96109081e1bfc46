"""Runs a test's worker module as rank 0 and rank 1 of one gloo group, with the variables that torchrun sets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def launch_two(worker: str, *arguments: str) -> list[tuple[int, str]]:
    """Runs a module beside this one in two processes, and waits for both.

    Args:
        worker: name of its module.
        arguments: its command line.

    Returns:
        The exit code of each process and what it said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"tests.gldfusion.{worker}", *arguments],
            cwd=ROOT,  # first in the search path: some installed packages bring a module `tests`
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]
