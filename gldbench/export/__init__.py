"""Writes evaluated checkpoints in the formats of other tools: `EXPORTS`, one file for each format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from gldbench.export import inspect_log, lm_eval, table
from gldbench.export.results import TaskResult, read_results
from gldfusion.errors import require_known
from gldfusion.files import atomic_dir

EXPORTS: dict[str, Callable[[Sequence[TaskResult], Path], None]] = {
    # Inspect (UK AI Security Institute): logs for `inspect view`
    "inspect": inspect_log.write,
    # lm-evaluation-harness (EleutherAI): results_*.json and samples_*.jsonl
    "lm-eval": lm_eval.write,
    # items.csv: one line for each grade
    "csv": table.write,
}


def export(source: str, to: str, folder: Path) -> list[Path]:
    """Exports what an output folder of `gldbench eval` or `gldbench run` holds.

    Args:
        source: FOLDER for all its checkpoints, or FOLDER:CHECKPOINT.
        to: a key of EXPORTS.
        folder: a new folder for the files.

    Returns:
        The written files.

    Raises:
        InputError: the source holds no rows, the format is unknown or its library is missing, or `folder` exists.
    """
    require_known("format", to, EXPORTS)
    results = read_results(source)
    with atomic_dir(folder) as place:
        EXPORTS[to](results, place)
    return sorted(path for path in folder.rglob("*") if path.is_file())
