"""What can be wrong with the columns of a spine, said with the row; rows count from 1."""

from __future__ import annotations

import base64
import binascii
import datetime
import numbers
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from onehop._errors import InvalidArgument

MICROSECONDS = pa.timestamp("us", tz="UTC")
_RFC3339 = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
_NO_ZONE = (
    "has no time zone, so it may mean many moments: give the zone that it was written in, as by "
    'tz_localize("UTC") in pandas or pyarrow.compute.assume_timezone(column, "UTC")'
)


def cell(row: int, column: str, problem: str) -> InvalidArgument:
    """Make the error of one cell."""
    return InvalidArgument(f'row {row}, column "{column}": {problem}')


def check_times(array: pa.Array, name: str, first: int) -> None:
    """Refuse what is no time; first is how many rows came before the array's."""
    is_ = pa.types
    if array.null_count:
        at = array.is_null().index(True).as_py()
        raise cell(first + at + 1, name, "there is no time: every row needs one")
    if len(array) == 0 or (is_.is_timestamp(array.type) and array.type.tz):
        return
    if is_.is_timestamp(array.type):
        raise cell(first + 1, name, f"{array[0]} {_NO_ZONE}")
    if is_.is_string(array.type) or is_.is_large_string(array.type):
        _check_time_texts(array, name, first)
        return
    raise cell(
        first + 1,
        name,
        f"{array[0]} is {array.type}; times are a timestamp with a time zone, as of "
        f'pandas.to_datetime(…, unit="s", utc=True), or text such as 2026-01-02T15:04:05Z',
    )


def _check_time_texts(array: pa.Array, name: str, first: int) -> None:
    at = pc.match_substring_regex(array, _RFC3339).index(False).as_py()
    if at < 0:
        return
    text = array[at].as_py()
    try:
        naive = datetime.datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        naive = False
    why = "has no time zone: write it as" if naive else "is no time such as"
    raise cell(first + at + 1, name, f'"{text[:40]}" {why} 2026-01-02T15:04:05Z')


def from_series(name: str, series: Any) -> pa.Array:
    """Make an array of a pandas column, whose values must be of one type and zone."""
    if series.dtype == object:
        _check_objects(name, series)
    try:
        array = pa.Array.from_pandas(series)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f'column "{name}": {error}') from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _check_objects(name: str, series: Any) -> None:
    """Refuse a column of objects of several types, or of times of several zones."""
    missing = series.isna().to_numpy()
    want: Any = None
    for row, value in enumerate(series, start=1):
        if missing[row - 1]:
            continue
        kind = _kind(value)
        if want is None:
            want = kind
        elif kind == want or {kind, want} == {int, float}:
            continue
        elif isinstance(value, datetime.datetime) and isinstance(want, tuple):
            advice = "make them of one zone, as by pandas.to_datetime(…, utc=True)"
            raise cell(row, name, f"{value} has another time zone, or none, than the rows before: {advice}")
        else:
            raise cell(
                row,
                name,
                f"{value!r:.60} is {type(value).__name__}; the rows before are {_named(want)}: "
                "make the column of one type, as by astype",
            )


def _kind(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return (datetime.datetime, str(value.tzinfo))
    if isinstance(value, bool):
        return bool
    for kind, known in ((int, numbers.Integral), (float, numbers.Real), (str, str), (bytes, bytes)):
        if isinstance(value, known):
            return kind
    return type(value)


def _named(kind: Any) -> str:
    return str(kind[0].__name__ if isinstance(kind, tuple) else kind.__name__)


def read_texts(array: pa.Array, name: str, typ: pa.DataType) -> pa.Array:
    """Read the cells of a CSV column as what they must be; an empty cell is null."""
    if pa.types.is_timestamp(typ):
        check_times(array, name, 0)
        read = _cast(array, typ)
        return array if read is None else read  # finer than microseconds: the service reads them
    if pa.types.is_binary(typ):
        return pa.array([_base64(text, name, row) for row, text in enumerate(array.to_pylist(), 1)], typ)
    cast = _cast(array, typ)
    if cast is not None:
        return cast
    row = next(row for row in range(len(array)) if _cast(array.slice(row, 1), typ) is None)
    wanted = {"int64": "an integer of 64 bits", "double": "a number", "bool": "true or false"}
    raise cell(row + 1, name, f'"{array[row].as_py()[:40]}" is not {wanted[str(typ)]}')


def _cast(array: pa.Array, typ: pa.DataType) -> pa.Array | None:
    try:
        return array.cast(typ)
    except pa.ArrowInvalid:
        return None


def _base64(text: str | None, name: str, row: int) -> bytes | None:
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except binascii.Error:
        problem = f'"{str(text)[:40]}" is not base64, as which bytes are written in CSV'
        raise cell(row, name, problem) from None
