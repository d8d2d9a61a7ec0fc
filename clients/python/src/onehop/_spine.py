"""Spines: where their rows come from, and the parts that they are sent in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet

from onehop import _checks
from onehop._errors import InvalidArgument

if TYPE_CHECKING:
    import pandas as pd

MAX_PART = 48 << 20
_BATCH_ROWS = 8192
_KEY_TYPES = {
    "int64": pa.int64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
}


@dataclass(frozen=True)
class Query:
    """A spine that is a query, which the service's Postgres answers.

    The service must run with ``--sql-spines``. ``ordered`` says that the query has an ORDER BY
    that leaves no two rows in doubt, over rows that do not change: only then can a broken
    connection be made up for once rows have come.
    """

    sql: str
    ordered: bool = False


Spine = Union[pa.Table, pa.RecordBatch, pa.RecordBatchReader, "pd.DataFrame", str, "os.PathLike[str]", Query]


@dataclass(frozen=True)
class Part:
    """Some rows of a spine, as they are sent: an Arrow stream or a query."""

    arrow: bytes = b""
    sql: str = ""
    first: int = 0
    rows: Optional[int] = None  # unknown of a query
    resumable: bool = True


def is_frame(spine: Any) -> bool:
    """Say whether a spine is a pandas DataFrame, without needing pandas."""
    return any(
        t.__module__.partition(".")[0] == "pandas" and t.__name__ == "DataFrame" for t in type(spine).__mro__
    )


def open_rows(
    spine: Any, time_column: str, key_types: Callable[[], Mapping[str, str]]
) -> tuple[pa.RecordBatchReader, Optional[int]]:
    """Open a spine that is not a query; the number of its rows is None where it is not known.

    key_types are the types of the join keys and request fields that the service knows, for
    files without types.
    """
    if is_frame(spine):
        spine = _from_frame(spine)
    if isinstance(spine, (str, os.PathLike)):
        return _open_file(os.fspath(spine), time_column, key_types)
    if isinstance(spine, pa.RecordBatch):
        spine = pa.Table.from_batches([spine])
    if isinstance(spine, pa.Table):
        return _from_table(spine)
    if isinstance(spine, pa.RecordBatchReader):
        return spine, None
    raise InvalidArgument(
        f"a spine cannot be {type(spine).__name__}: give a pyarrow Table or RecordBatchReader, a pandas "
        "DataFrame, the path of a file, or a Query"
    )


def _from_table(table: pa.Table) -> tuple[pa.RecordBatchReader, int]:
    return table.to_reader(_BATCH_ROWS), table.num_rows


def _from_frame(frame: Any) -> pa.Table:
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            raise InvalidArgument(f"column {name!r} of the DataFrame: names are text: rename it")
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InvalidArgument(f'the DataFrame has two columns "{twice[0]}": rename one')
    return pa.table({name: _checks.from_series(name, frame[name]) for name in names})


def _open_file(
    path: str, time_column: str, key_types: Callable[[], Mapping[str, str]]
) -> tuple[pa.RecordBatchReader, Optional[int]]:
    try:
        if path.endswith(".csv"):
            return _from_table(_read_csv(path, time_column, key_types()))
        if path.endswith((".parquet", ".pq")):
            file = pa.parquet.ParquetFile(path)
            batches = file.iter_batches(_BATCH_ROWS)
            return pa.RecordBatchReader.from_batches(file.schema_arrow, batches), file.metadata.num_rows
        if path.endswith((".arrow", ".feather", ".arrows")):
            return _open_arrow(path), None
    except pa.ArrowException as error:
        raise InvalidArgument(f"reading {path}: {error}") from None
    raise InvalidArgument(f"{path} ends with none of .csv, .parquet, .pq, .arrow, .feather and .arrows")


def _open_arrow(path: str) -> pa.RecordBatchReader:
    source = pa.memory_map(path)
    if path.endswith(".arrows"):
        return pa.ipc.open_stream(source)
    file = pa.ipc.open_file(source)
    batches = (file.get_batch(i) for i in range(file.num_record_batches))
    return pa.RecordBatchReader.from_batches(file.schema, batches)


def _read_csv(path: str, time_column: str, key_types: Mapping[str, str]) -> pa.Table:
    """Read a CSV whole: join keys and times as what they are, other columns as they look."""
    known = {name: _KEY_TYPES[t] for name, t in key_types.items()}
    known[time_column] = _checks.MICROSECONDS
    texts = dict.fromkeys(known, pa.string())
    options = pa.csv.ConvertOptions(column_types=texts, null_values=[""], strings_can_be_null=True)
    table = pa.csv.read_csv(path, convert_options=options)
    for i, name in enumerate(table.column_names):
        if name in known:
            column = table.column(i).combine_chunks()
            array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
            try:
                table = table.set_column(i, name, _checks.read_texts(array, name, known[name]))
            except InvalidArgument as error:
                raise InvalidArgument(f"reading {path}: {error}") from None
    return table


def parts(rows: pa.RecordBatchReader, time_column: str, part_bytes: int) -> Iterator[Part]:
    """Cut rows into parts of about part_bytes, at least one part, and check their times."""
    at = rows.schema.get_field_index(time_column)
    if at < 0:
        raise InvalidArgument(
            f'the spine has no column "{time_column}" of times: '
            "name the one that it has (time_column), or add it"
        )
    cut = _Cut(rows.schema, part_bytes)
    first = 0
    for batch in rows:
        _checks.check_times(batch.column(at), time_column, first)
        first += batch.num_rows
        yield from cut.add(batch)
    if cut.rows or cut.first == 0:
        yield cut.end()


class _Cut:
    """Writes batches into a part until it is full."""

    def __init__(self, schema: pa.Schema, part_bytes: int) -> None:
        self.schema, self.part_bytes = schema, part_bytes
        self.first = 0
        self._begin()

    def _begin(self) -> None:
        self.rows = 0
        self.sink = pa.BufferOutputStream()
        self.writer = pa.ipc.new_stream(self.sink, self.schema)

    def add(self, batch: pa.RecordBatch) -> Iterator[Part]:
        step = max(1, int(batch.num_rows * self.part_bytes / 4 / max(1, batch.nbytes)))
        for start in range(0, batch.num_rows, step):
            piece = batch.slice(start, step)
            self.writer.write_batch(piece)
            self.rows += piece.num_rows
            if self.sink.tell() >= self.part_bytes:
                yield self.end()

    def end(self) -> Part:
        self.writer.close()
        part = Part(arrow=self.sink.getvalue().to_pybytes(), first=self.first, rows=self.rows)
        self.first += self.rows
        self._begin()
        return part
