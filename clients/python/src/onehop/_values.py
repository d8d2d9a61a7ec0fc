"""Columns on the wire and Arrow arrays, either way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable

import pyarrow as pa
import pyarrow.compute as pc

from onehop._errors import InvalidArgument
from onehop.v1 import feature_service_pb2, values_pb2

_HAVE_VALUES = {values_pb2.STATUS_PRESENT, values_pb2.STATUS_DEFAULTED, values_pb2.STATUS_STALE}
_FIELDS = {
    "int64": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "bool": pa.bool_(),
}
_ELEMENTS = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "bool": pa.bool_(),
}
EVENT_TIME = pa.timestamp("us", tz="UTC")


def status_name(status: int) -> str:
    """Return the name that training sets write, too: "PRESENT"."""
    return values_pb2.Status.Name(status)[len("STATUS_") :]  # type: ignore[arg-type]


def to_arrays(where: str, columns: Mapping[str, Any]) -> dict[str, pa.Array]:
    """Make arrays of what a caller gives as columns: a value, or a sequence of values.

    where names the parameter in errors.
    """
    if not isinstance(columns, Mapping):
        raise InvalidArgument(
            f'{where} is {type(columns).__name__}: give names with values, as {{"user_id": [1, 2]}}'
        )
    return {name: _to_array(where, name, values) for name, values in columns.items()}


def _to_array(where: str, name: str, values: Any) -> pa.Array:
    if values is None:
        raise InvalidArgument(f"{where}: {name!r} is None: give a value, or leave it out")
    if isinstance(values, (str, bytes, int, float)):
        values = [values]
    try:
        array = pa.array(values, from_pandas=True)
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
    except OverflowError:
        raise InvalidArgument(f"{where}: {name!r}: integers have 64 bits, and one needs more") from None
    except (pa.ArrowException, TypeError) as error:
        raise InvalidArgument(f"{where}: {name!r}: give values of one type: {error}") from None
    if len(array) == 0:
        raise InvalidArgument(f"{where}: {name!r} has no values")
    if array.null_count:
        at = array.is_null().index(True).as_py()
        what = "NaN, which is no value" if _is_nan(values, at) else "missing"
        raise InvalidArgument(f"{where}: {name!r}: value {at + 1} is {what}; leave out what has no value")
    return array


def _is_nan(values: Any, at: int) -> bool:
    """Say whether it is NaN that pandas, and so Arrow, takes for a null."""
    if hasattr(values, "tolist"):  # arrays and series
        values = values.tolist()
    value = values[at] if isinstance(values, Sequence) else None
    return isinstance(value, float) and math.isnan(value)


def to_values(where: str, arrays: Mapping[str, pa.Array]) -> dict[str, values_pb2.Values]:
    """Make messages of arrays without nulls."""
    return {name: _to_message(where, name, array) for name, array in arrays.items()}


def _to_message(where: str, name: str, array: pa.Array) -> values_pb2.Values:
    t, is_ = array.type, pa.types
    if is_.is_boolean(t):
        return values_pb2.Values(bool=array.to_pylist())
    if is_.is_floating(t):
        return values_pb2.Values(double=array.to_pylist())
    if is_.is_string(t) or is_.is_large_string(t):
        return values_pb2.Values(string=array.to_pylist())
    if is_.is_binary(t) or is_.is_large_binary(t):
        return values_pb2.Values(bytes=array.to_pylist())
    if is_.is_integer(t):
        try:
            return values_pb2.Values(int64=array.cast(pa.int64()).to_pylist())
        except pa.ArrowInvalid as error:
            raise InvalidArgument(f"{where}: {name!r}: {error}") from None
    raise InvalidArgument(f"{where}: {name!r} is {t}: give integers, floats, text, bytes or booleans")


def from_columns(
    columns: Sequence[values_pb2.Column], statuses: bool, event_times: bool, type_of: Callable[[str], str]
) -> tuple[list[str], list[pa.Array]]:
    """Make the columns of a table, named as those of a training set.

    type_of looks up the type of a feature that no value shows.
    """
    names: list[str] = []
    arrays: list[pa.Array] = []
    for column in columns:
        names.append(column.name)
        arrays.append(_from_column(column, type_of))
        if statuses:
            names.append(column.name + ".status")
            arrays.append(pa.array([status_name(s) for s in column.statuses], pa.string()))
        if event_times:
            names.append(column.name + ".event_time")
            times = pa.array([t or None for t in column.event_times_us], pa.int64())
            arrays.append(times.cast(EVENT_TIME))
    return names, arrays


def _from_column(column: values_pb2.Column, type_of: Callable[[str], str]) -> pa.Array:
    array = _from_values(column.name, column.values, len(column.statuses), type_of)
    if not column.statuses or set(column.statuses) <= _HAVE_VALUES:
        return array
    valid = pa.array([s in _HAVE_VALUES for s in column.statuses])
    return pc.if_else(valid, array, pa.scalar(None, array.type))


def _from_values(name: str, values: values_pb2.Values, rows: int, type_of: Callable[[str], str]) -> pa.Array:
    used = [field for field in _FIELDS if len(getattr(values, field))]
    if used:
        flat = pa.array(list(getattr(values, used[0])), _FIELDS[used[0]])
    elif rows:
        element = type_of(name).removeprefix("list<").removesuffix(">")
        flat = pa.array([], _ELEMENTS[element])
    else:
        return pa.nulls(0)
    if not values.list_lengths:
        return flat
    offsets = [0]
    for length in values.list_lengths:
        offsets.append(offsets[-1] + length)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def from_messages(values: Mapping[str, values_pb2.Values]) -> dict[str, pa.Array]:
    """Make arrays of join keys that a service gives back."""
    return {name: _from_values(name, v, 0, lambda _: "") for name, v in sorted(values.items())}


_QUANTILES = ("p1", "p25", "p50", "p75", "p99")
_STATISTICS = pa.schema(
    [
        ("feature", pa.string()),
        ("time", pa.timestamp("us", "UTC")),
        *((name, pa.int64()) for name in ("rows", "nulls", "distinct")),
        *((name, pa.float64()) for name in ("mean", "deviation", "min", "max", *_QUANTILES, "psi")),
    ]
)


def from_statistics(statistics: Iterable[feature_service_pb2.FeatureStatistics]) -> pa.Table:
    """Make a table of statistics, a row for each feature and time."""
    rows = []
    for s in statistics:
        row: dict[str, Any] = {
            "feature": s.feature,
            "time": s.time_us,
            "rows": s.rows,
            "nulls": s.nulls,
            "distinct": s.distinct,
        }
        if s.HasField("numbers"):
            n = s.numbers
            row.update({"mean": n.mean, "deviation": n.deviation, "min": n.min, "max": n.max})
            row.update(zip(_QUANTILES, n.quantiles))
        if s.HasField("psi"):
            row["psi"] = s.psi
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=_STATISTICS)
