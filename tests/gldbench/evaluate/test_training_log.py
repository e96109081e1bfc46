"""A damaged training log of a checkpoint is named, whatever the damage is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gldbench.evaluate.world import training_rows
from gldbench.grade.rows import RowLabels
from gldfusion.errors import InputError

LABELS = RowLabels(run_id="r", env_id="e", suite="s", subject="s", method="m")
ENTRY: dict[str, Any] = {
    "step": 1, "loss": 2.0, "learning_rate": 0.1, "gradient_share": {},
    "terms": {"sft": 1.5, "a/uld": 0.25, "b/uld": 0.25},
}  # fmt: skip


def written(folder: Path, entry: Any, totals: Any) -> Path:
    (folder / "training_log.jsonl").write_text(json.dumps(entry) + "\n")
    (folder / "training_totals.json").write_text(json.dumps(totals))
    return folder


def test_a_log_becomes_rows(tmp_path: Path) -> None:
    rows = training_rows(written(tmp_path, ENTRY, {"tokens": 7, "peak_memory_bytes": None}), LABELS)
    found = {(row.item, row.metric): row.value for row in rows}
    assert found["1", "loss/uld"] == 0.5
    assert found["total", "tokens"] == 7
    assert ("total", "peak_memory_bytes") not in found


@pytest.mark.parametrize(
    ("entry", "totals"),
    [
        ({**ENTRY, "terms": ["sft"]}, {}),
        ({**ENTRY, "terms": {"sft": "x"}}, {}),
        ({name: value for name, value in ENTRY.items() if name != "gradient_share"}, {}),
        ({**ENTRY, "loss": None}, {}),
        ({**ENTRY, "loss": 10**400}, {}),
        (ENTRY, {"tokens": [1]}),
        (ENTRY, {"tokens": "many"}),
        (ENTRY, [1]),
        ([1], {}),
    ],
)
def test_another_form_is_named_with_the_repair(tmp_path: Path, entry: Any, totals: Any) -> None:
    with pytest.raises(InputError, match="delete the folder of the checkpoint") as caught:
        training_rows(written(tmp_path, entry, totals), LABELS)
    assert len(str(caught.value).splitlines()) <= 3
