"""How a fused model comes to be: METHODS, one function each with the same arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gldbench.methods.train import train
from gldbench.spec import MethodSpec, Spec
from gldfusion.progress import Progress

METHODS: dict[str, Callable[[Spec, MethodSpec, Path, Path, int, Path, Progress], Path]] = {"train": train}
"""(spec, method, world folder, data file, seed, output folder, progress) -> the checkpoint"""
