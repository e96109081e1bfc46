"""Rows and responses survive, are stored once, and a damaged part is named."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gldbench.schema import Row
from gldbench.store import Store
from gldfusion.errors import InputError


def row(item: str, value: float | None = 1.0) -> Row:
    return Row(
        run_id="r",
        env_id="e",
        suite="world",
        task="t",
        task_version=1,
        variant="test",
        subject="s",
        method="m",
        world_seed=0,
        seed=0,
        item=item,
        cluster="c",
        grader="g",
        filter="f",
        metric="exact_match",
        value=value,
        unit="fraction",
        status="ok",
        reason="",
    )


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    rows = [row("1"), row("2", None)]
    Store(tmp_path).append_rows(rows, "unit")
    assert Store(tmp_path).rows() == rows
    assert list(Store(tmp_path).frame()["item"]) == ["1", "2"]


def test_a_unit_is_stored_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append_rows([row("1")], "unit")
    store.append_rows([row("1")], "unit")
    Store(tmp_path).append_rows([row("1")], "unit")
    assert len(store.rows()) == 1
    assert store.has("unit")
    assert not store.has("other")


def test_two_stores_on_one_folder_see_each_other(tmp_path: Path) -> None:
    first, second = Store(tmp_path), Store(tmp_path)
    first.append_rows([row("1")], "a")
    assert second.has("a")
    second.append_rows([row("2")], "b")
    assert [r.item for r in first.rows()] == ["1", "2"]


def test_a_damaged_part_is_named_with_the_way_to_mend_it(tmp_path: Path) -> None:
    Store(tmp_path).append_rows([row("1")], "unit")
    part = next((tmp_path / "rows").glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=rf"(?s){part.name} is corrupted.*delete this file"):
        Store(tmp_path).rows()


def test_a_full_disk_leaves_no_half_written_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.append_rows([row("1")], "kept")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.append_rows([row("2")], "lost")
    assert [r.item for r in Store(tmp_path).rows()] == ["1"]
    assert [p.name for p in (tmp_path / "rows").iterdir() if p.name.endswith(".part")] == []
