"""Reads and writes the rows, responses and plans of a run. No other module does.

Rows and responses are stored in parts: files called `part-<number>-<checksum>.parquet`, where the checksum is the first
16 digits of the SHA-256 of the file. It is checked whenever the file is read. The parquet metadata of a part names the
*unit* of work that made it, so that no unit is stored twice. The manifest of the run's folder lists all parts and
plans, so that a deleted one is noticed.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import io
import logging
import types
import typing
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gldbench.schema import Response, Row
from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_json, remove_all_leftovers, remove_leftovers, write_json
from gldfusion.manifest import MANIFEST, change_manifest, read_manifest
from gldfusion.reading import one_line, parse_json, plain_line, read_bytes

_log = logging.getLogger(__name__)

KINDS = ("rows", "responses", "plans")
"""the folders of a store"""
AGAIN = "delete this file and run the same command again: it repeats only the work of this file"

FOREIGN = "move this file out of the folder"

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

    def __init__(self, root: Path, partial: bool = False) -> None:
        """Opens the store of a folder, which may not exist yet.

        Args:
            root: the folder of the run.
            partial: read what there is, even if a part is missing that the manifest lists.
        """
        self.root = root
        self.partial = partial
        self._units: dict[str, str] = {}
        """file name -> unit, for each part that this process has checked; a part never changes"""

    def missing(self, kind: str) -> list[str]:
        """The parts or plans that the manifest lists and that are not there."""
        return [name for name in self._listed(kind) if not (self.root / name).exists()]

    def settle(self) -> list[str]:
        """Prepares the folder for more work. Only one process may do this at a time, and none may append meanwhile.

        It deletes what killed processes left half-written, and brings the manifest in line with the files: a part that
        was deleted, as error messages advise, is taken off the list, so that its work is done again.

        Returns:
            The deleted parts and plans.

        Raises:
            InputError: the manifest is damaged.
        """
        for kind in KINDS:
            remove_all_leftovers(self.root / kind)
        for name in ("environment.json", "spec.yaml", "evaluation.json", MANIFEST):
            remove_leftovers(self.root / name)
        listed = {name for kind in KINDS for name in self._listed(kind)}
        there = {f"{kind}/{path.name}" for kind in KINDS for path in self._files(kind)}
        if listed != there:
            change_manifest(self.root, add=sorted(there - listed), remove=listed - there)
        gone = sorted(listed - there)
        if gone:
            _log.warning("%s is gone%s: its work is done again", self.root / gone[0], _others(len(gone) - 1))
        return gone

    def units(self, kind: str = "rows") -> list[str]:
        """The units whose rows (or responses) are stored.

        Raises:
            InputError: a part is missing or corrupted, or a unit is stored twice.
        """
        return [unit for _, unit in self._parts(kind)]

    def append_rows(self, rows: Sequence[Row], unit: str) -> None:
        """Stores the rows of one unit of work. Does nothing if the unit is stored already."""
        self._append("rows", Row, rows, unit)

    def replace_rows(self, rows: Sequence[Row]) -> None:
        """Replaces all stored rows. A process killed meanwhile leaves old and new rows, the new ones last."""
        before = self._files("rows")
        self._append("rows", Row, rows, unit=f"instead-of-{hash_json([path.name for path in before])}")
        change_manifest(self.root, remove=[f"rows/{path.name}" for path in before])
        for path in before:
            path.unlink()

    def append_responses(self, responses: Sequence[Response], unit: str) -> None:
        """Stores the responses of one unit of work. Does nothing if the unit is stored already."""
        self._append("responses", Response, responses, unit)

    def has(self, unit: str) -> bool:
        """Whether rows or responses of this unit are stored."""
        return any(unit in self.units(kind) for kind in ("rows", "responses"))

    def rows(self) -> list[Row]:
        """All rows, in the order of their parts.

        Raises:
            InputError: a part is corrupted.
        """
        return [Row(**record) for record in self._table("rows", Row).to_pylist()]

    def responses(self, cases: Collection[str] | None = None) -> list[Response]:
        """The responses, in the order of their parts.

        Args:
            cases: only those with these case ids; None: all.

        Raises:
            InputError: a part is corrupted.
        """
        table = self._table("responses", Response)
        if cases is not None:
            table = table.filter(pc.field("case_id").isin(pa.array([*cases], pa.string())))
        return [Response(**record) for record in table.to_pylist()]

    def frame(self) -> pd.DataFrame:
        """All rows as a data frame with the columns of `schema.Row`."""
        return self._table("rows", Row).to_pandas()

    def plans(self, batch_size: int) -> list[list[str]]:
        """All planned batches with this batch size, generated or not. A batch is a list of case ids.

        Raises:
            InputError: the file of a plan is corrupted.
        """
        recorded = []
        for path in self._complete("plans"):
            plan = parse_json(read_bytes(path, "plan", AGAIN), str(path), AGAIN)
            if path.stem != _plan_name(plan):
                raise InputError(f"{path} is corrupted: its content is not the one that its name says\n{AGAIN}")
            recorded += plan["batches"] if plan["batch_size"] == batch_size else []
        return recorded

    def append_plan(self, batches: Sequence[Sequence[str]], batch_size: int) -> None:
        """Stores a plan before its batches are generated. A batch is a list of case ids."""
        plan = {"batch_size": batch_size, "batches": batches}
        name = f"plans/{_plan_name(plan)}.json"
        write_json(self.root / name, plan)
        change_manifest(self.root, add=[name])

    def _append(self, kind: str, record: type[Row] | type[Response], items: Sequence[Any], unit: str) -> None:
        schema = arrow_schema(record).with_metadata({"unit": unit})
        columns = [dataclasses.asdict(item) for item in items]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(columns, schema=schema), buffer, compression="zstd")
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:16]
        with self._numbering(kind) as folder:
            if unit in self.units(kind):
                return
            number = 1 + max((_number(path) for path in self._files(kind)), default=0)
            name = f"part-{number:05d}-{digest}.parquet"
            with atomic_write(folder / name) as file:
                file.write(content)
            change_manifest(self.root, add=[f"{kind}/{name}"])

    @contextmanager
    def _numbering(self, kind: str) -> Iterator[Path]:
        """Locks the numbers of parts, as several processes may append. The lock of a dead process is released."""
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield folder

    def _files(self, kind: str) -> list[Path]:
        """The parts or plans that lie in a folder, in their order."""
        return sorted((self.root / kind).glob("plan-*.json" if kind == "plans" else "part-*.parquet"))

    def _listed(self, kind: str) -> list[str]:
        """The parts or plans that the manifest lists. Folders that older versions made have no manifest."""
        if not (self.root / MANIFEST).exists():
            return []
        mend = "delete this file and run the same command again; it makes a new one"
        return [name for name in read_manifest(self.root, "run", mend) if name.startswith(f"{kind}/")]

    def _complete(self, kind: str) -> list[Path]:
        """The parts or plans in their order, after a check that none is missing."""
        # the second look is for a part that another process replaced between reading the list and looking for the file
        if not self.partial and self.missing(kind) and (gone := self.missing(kind)):
            raise InputError(
                f"{self.root / gone[0]} is missing: {MANIFEST} lists it{_others(len(gone) - 1)}\n"
                "run the same command again that made the folder: it repeats only the missing work"
            )
        return self._files(kind)

    def _parts(self, kind: str) -> Iterator[tuple[Path, str]]:
        """The parts and their units. A unit may be in one part only, else its rows would count twice."""
        holders: dict[str, Path] = {}
        for path in self._complete(kind):
            if path.name not in self._units:
                metadata = self._checked(path).schema_arrow.metadata or {}
                self._units[path.name] = metadata.get(b"unit", b"").decode()
            unit = self._units[path.name]
            if unit and unit in holders:
                raise InputError(
                    f"{path} holds the same work ({one_line(unit, 80)}) as {holders[unit].name}, so it would count "
                    "twice\nmove one of the two files out of the folder and run the same command again"
                )
            holders[unit] = path
            yield path, unit

    def _table(self, kind: str, record: type[Row] | type[Response]) -> pa.Table:
        schema = arrow_schema(record)
        tables = []
        for path, _ in self._parts(kind):
            try:
                tables.append(_completed(self._checked(path).read(use_threads=False), record, schema))
            except (KeyError, ValueError, pa.ArrowException) as error:
                raise InputError(f"{path} has other columns than expected: {plain_line(error)}\n{FOREIGN}") from None
        return pa.concat_tables([schema.empty_table(), *tables])

    @staticmethod
    def _checked(path: Path) -> pq.ParquetFile:
        content = read_bytes(path, "part", AGAIN)
        expected = path.stem.rsplit("-", 1)[1]
        found = hashlib.sha256(content).hexdigest()[:16]
        if found != expected:
            raise InputError(f"{path} is corrupted: expected checksum {expected}, found {found}\n{AGAIN}")
        try:
            # no Python object and no thread takes part in reading: a thread that waits for Python while the process
            # ends would abort it
            return pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
        except pa.ArrowException as error:
            raise InputError(f"{path} is no parquet file: {plain_line(error)}\n{FOREIGN}") from None


def _number(path: Path) -> int:
    """The number of a part.

    Raises:
        InputError: its name is none that a store gives.
    """
    number = path.name.split("-")[1]
    if not number.isdigit():
        raise InputError(f"{path} is no part of a store: expected a name like part-00001-<checksum>\n{FOREIGN}")
    return int(number)


def _others(count: int) -> str:
    return f" (and {count} more)" if count else ""
