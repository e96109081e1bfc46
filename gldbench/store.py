"""Reads and writes the rows, responses and plans of a run. No other module does.

Rows and responses are stored in parts: files called `part-<number>-<checksum>.parquet`, where the checksum is the first
16 digits of the SHA-256 of the file. It is checked whenever the file is read. The parquet metadata of a part names the
*unit* of work that made it, so that no unit is stored twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gldbench.schema import Response, Row
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_json, write_json

_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def _arrow_type(annotation: Any) -> pa.DataType:
    """Arrow type of a field. A union with None has the type of its other member, a literal is a string."""
    if isinstance(annotation, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    if typing.get_origin(annotation) is typing.Literal:
        annotation = str
    return _ARROW[annotation]


def arrow_schema(record: type[Row] | type[Response]) -> pa.Schema:
    """The parquet schema of a record type: one column for each field."""
    hints = typing.get_type_hints(record)
    return pa.schema([(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(record)])


def _completed(table: pa.Table, record: type[Row] | type[Response], schema: pa.Schema) -> pa.Table:
    """The table with the fields that were added to the record after it was stored, at their defaults."""
    defaults = {f.name: f.default for f in dataclasses.fields(record) if f.default is not dataclasses.MISSING}
    for name in (name for name in schema.names if name in defaults and name not in table.column_names):
        column = pa.array([defaults[name]] * len(table), schema.field(name).type)
        table = table.append_column(name, column)
    return table.select(schema.names).cast(schema)


def _plan_name(plan: Any) -> str:
    return f"plan-{hash_json(plan)[:16]}"


class Store:
    """The stored data of one run: `root`/rows, `root`/responses, and plans of batches in `root`/plans."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._units: dict[str, str] = {}
        """file name -> unit, for each part that this process has checked; a part never changes"""

    def append_rows(self, rows: Sequence[Row], unit: str) -> None:
        """Stores the rows of one unit of work. Does nothing if the unit is stored already."""
        self._append("rows", Row, rows, unit)

    def replace_rows(self, rows: Sequence[Row]) -> None:
        """Replaces all stored rows. A process killed meanwhile leaves old and new rows, the new ones last."""
        before = sorted((self.root / "rows").glob("part-*.parquet"))
        self._append("rows", Row, rows, unit=f"instead-of-{hash_json([path.name for path in before])}")
        for path in before:
            path.unlink()

    def append_responses(self, responses: Sequence[Response], unit: str) -> None:
        """Stores the responses of one unit of work. Does nothing if the unit is stored already."""
        self._append("responses", Response, responses, unit)

    def has(self, unit: str) -> bool:
        """Whether rows or responses of this unit are stored."""
        return any(unit == stored for kind in ("rows", "responses") for _, stored in self._parts(kind))

    def rows(self) -> list[Row]:
        """All rows, in the order of their parts.

        Raises:
            InputError: a part is corrupted.
        """
        return [Row(**record) for record in self._table("rows", Row).to_pylist()]

    def responses(self) -> list[Response]:
        """All responses, in the order of their parts.

        Raises:
            InputError: a part is corrupted.
        """
        return [Response(**record) for record in self._table("responses", Response).to_pylist()]

    def frame(self) -> pd.DataFrame:
        """All rows as a data frame with the columns of `schema.Row`."""
        return self._table("rows", Row).to_pandas()

    def plans(self, batch_size: int) -> list[list[str]]:
        """All planned batches with this batch size, generated or not. A batch is a list of case ids.

        Raises:
            InputError: the file of a plan is corrupted.
        """
        recorded = []
        for path in sorted((self.root / "plans").glob("plan-*.json")):
            plan: Any = None
            with contextlib.suppress(ValueError):  # if it is no JSON, its name does not match below
                plan = json.loads(path.read_bytes())
            if path.stem != _plan_name(plan):
                raise InputError(f"{path} is corrupted\ndelete this file and run the same command again")
            recorded += plan["batches"] if plan["batch_size"] == batch_size else []
        return recorded

    def append_plan(self, batches: Sequence[Sequence[str]], batch_size: int) -> None:
        """Stores a plan before its batches are generated. A batch is a list of case ids."""
        plan = {"batch_size": batch_size, "batches": batches}
        write_json(self.root / "plans" / f"{_plan_name(plan)}.json", plan)

    def _append(self, kind: str, record: type[Row] | type[Response], items: Sequence[Any], unit: str) -> None:
        schema = arrow_schema(record).with_metadata({"unit": unit})
        columns = [dataclasses.asdict(item) for item in items]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(columns, schema=schema), buffer, compression="zstd")
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:16]
        with self._numbering(kind) as folder:
            if any(stored == unit for _, stored in self._parts(kind)):
                return
            number = 1 + max((int(path.name.split("-")[1]) for path in folder.glob("part-*.parquet")), default=0)
            with atomic_write(folder / f"part-{number:05d}-{digest}.parquet") as file:
                file.write(content)

    @contextmanager
    def _numbering(self, kind: str) -> Iterator[Path]:
        """Locks the numbers of parts, as several processes may append. The lock of a dead process is released."""
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield folder

    def _parts(self, kind: str) -> Iterator[tuple[Path, str]]:
        for path in sorted((self.root / kind).glob("part-*.parquet")):
            if path.name not in self._units:
                metadata = self._checked(path).schema_arrow.metadata or {}
                self._units[path.name] = metadata.get(b"unit", b"").decode()
            yield path, self._units[path.name]

    def _table(self, kind: str, record: type[Row] | type[Response]) -> pa.Table:
        schema = arrow_schema(record)
        tables = [self._checked(path).read() for path in sorted((self.root / kind).glob("part-*.parquet"))]
        return pa.concat_tables([schema.empty_table(), *(_completed(table, record, schema) for table in tables)])

    @staticmethod
    def _checked(path: Path) -> pq.ParquetFile:
        content = path.read_bytes()
        expected = path.stem.rsplit("-", 1)[1]
        found = hashlib.sha256(content).hexdigest()[:16]
        if found != expected:
            raise InputError(
                f"{path} is corrupted: expected checksum {expected}, found {found}\n"
                "delete this file and run the same command again: it repeats only the work of this file"
            )
        return pq.ParquetFile(io.BytesIO(content))
