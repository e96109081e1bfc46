"""Rows and responses survive, are stored once, and a damaged part is named."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gldbench.schema import Response, Row
from gldbench.store import Store
from gldfusion.errors import InputError
from gldfusion.manifest import MANIFEST


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


def test_responses_are_found_by_their_case_ids_among_those_of_all_units(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = Response("a", "", "", "", "", "first", 0, 0, False, False, 0.0, prompt="", gold="")
    store.append_responses([one, dataclasses.replace(one, case_id="b", output="second")], "unit")
    store.append_responses([dataclasses.replace(one, case_id="c", output="third")], "other")
    assert [response.output for response in store.responses(["c", "a", "absent"])] == ["first", "third"]
    assert store.responses([]) == []
    assert len(store.responses()) == 3


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


def parts(root: Path) -> list[Path]:
    return sorted((root / "rows").glob("part-*.parquet"))


def test_a_deleted_part_is_named_and_its_work_is_done_again_after_settling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "abc":
        Store(tmp_path).append_rows([row(name)], name)
    gone = parts(tmp_path)[1]
    gone.unlink()
    with pytest.raises(InputError, match=rf"(?s)rows/{gone.name} is missing.*run the same command again"):
        Store(tmp_path).rows()
    assert [r.item for r in Store(tmp_path, partial=True).rows()] == ["a", "c"]
    store = Store(tmp_path)
    assert store.settle() == [f"rows/{gone.name}"]
    assert f"{gone.name} is gone" in caplog.text
    assert not store.has("b")
    store.append_rows([row("b")], "b")
    assert sorted(r.item for r in store.rows()) == ["a", "b", "c"]
    assert store.settle() == []


def test_a_deleted_plan_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append_plan([["x", "y"]], 2)
    assert store.plans(2) == [["x", "y"]]
    next((tmp_path / "plans").iterdir()).unlink()
    with pytest.raises(InputError, match=r"plans/plan-\w+.json is missing"):
        store.plans(2)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[[", b'{"batch_size": 2, "batches": [["x"]]}', b"[" * 100_000])
def test_a_damaged_plan_is_named(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.append_plan([["x", "y"]], 2)
    plan = next((tmp_path / "plans").iterdir())
    plan.write_bytes(content)
    with pytest.raises(InputError, match=rf"(?s){plan.name}.*delete this file"):
        store.plans(2)


def test_a_unit_that_is_stored_twice_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).append_rows([row("1")], "unit")
    (part,) = parts(tmp_path)
    part.with_name(part.name.replace("00001", "00007")).write_bytes(part.read_bytes())
    for read in (Store(tmp_path).rows, Store(tmp_path).frame, lambda: Store(tmp_path).has("unit")):
        with pytest.raises(InputError, match=r"(?s)part-00007.*holds the same work.*move one of the two files"):
            read()


def test_foreign_files_among_the_parts_are_named(tmp_path: Path) -> None:
    def put(name: str, content: bytes) -> Path:
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = tmp_path / "rows" / f"part-{name}-{digest}.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    other = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), other)
    for name, content, problem in (
        ("00001", b"PAR1 no", "no parquet file"),
        ("00001", other.getvalue(), "has other columns"),
    ):
        path = put(name, content)
        with pytest.raises(InputError, match=rf"(?s){path.name} .*{problem}.*move this file out"):
            Store(tmp_path).rows()
        path.unlink()
    put("x", other.getvalue())
    with pytest.raises(InputError, match="no part of a store"):
        Store(tmp_path).append_rows([row("1")], "unit")


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append_rows([row("1")], "unit")
    left = [
        tmp_path / "rows" / ".part-00002-0123456789abcdef.parquet.ab_12345.part",
        tmp_path / ".environment.json.ab_12345.part",
    ]
    for path in left:
        path.write_bytes(b"half")
    assert [r.item for r in Store(tmp_path).rows()] == ["1"]
    store.settle()
    assert not any(path.exists() for path in left)


def test_many_writers_lose_nothing_and_all_parts_are_listed(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Store(tmp_path).append_rows([row(str(n))], str(n)), range(40)))
    assert sorted(int(r.item) for r in Store(tmp_path).rows()) == list(range(40))
    assert Store(tmp_path).settle() == []
    (tmp_path / MANIFEST).unlink()  # a folder of an older version has none
    assert len(Store(tmp_path).rows()) == 40


def test_replacing_rows_leaves_a_folder_that_is_complete(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append_rows([row("1")], "a")
    store.append_rows([row("2")], "b")
    store.replace_rows([row("3")])
    assert [r.item for r in Store(tmp_path).rows()] == ["3"]
    assert len(Store(tmp_path).units()) == 1
