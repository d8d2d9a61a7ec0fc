"""Read a training set and split it by time."""

import csv
import json
import re
from dataclasses import dataclass

import numpy as np

RESERVED = ("label", "user_id", "movie_id", "time")
COLUMN = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
# A missing count, sum or number of distinct values means that nothing happened.
ZERO_WHEN_MISSING = re.compile(r".*\.(.*_)?(count|sum|distinct|decayed_sum)(_.*)?")


class Mistake(Exception):
    """Something in the training set that the user must correct."""


@dataclass
class Table:
    columns: list  # of the features, in the file's order
    features: np.ndarray  # float64 [rows, columns], NaN where missing
    labels: np.ndarray  # float64 [rows], 0 or 1
    users: np.ndarray  # int64 [rows]
    movies: np.ndarray  # int64 [rows]
    times: np.ndarray  # int64 [rows], microseconds

    def take(self, rows):
        return Table(
            self.columns, self.features[rows], self.labels[rows], self.users[rows], self.movies[rows], self.times[rows]
        )


def read(path):
    """Return the training set at path as a Table, ordered by time."""
    with open(path, newline="", encoding="utf-8") as file:
        if str(path).endswith(".csv"):
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or [], list(reader)
        elif str(path).endswith(".jsonl"):
            rows = [json.loads(line) for line in file if line.strip()]
            header = list(rows[0]) if rows else []
        else:
            raise Mistake(f"{path}: want a file that ends in .csv or .jsonl")
    missing = [name for name in RESERVED if name not in header]
    if missing:
        raise Mistake(f"{path}: columns {', '.join(missing)} are missing; it has {', '.join(header)}")
    columns = [name for name in header if name not in RESERVED]
    bad = [name for name in columns if not COLUMN.fullmatch(name)]
    if bad or not columns:
        raise Mistake(f"{path}: columns must be named view.feature or request.field: {', '.join(bad) or 'there are none'}")
    if len(rows) < 30:
        raise Mistake(f"{path}: {len(rows)} rows are too few to split")
    table = Table(
        columns,
        np.array([[number(path, i, name, row.get(name)) for name in columns] for i, row in enumerate(rows)]),
        np.array([number(path, i, "label", row.get("label"), required=True) for i, row in enumerate(rows)]),
        *(np.array([integer(path, i, name, row.get(name)) for i, row in enumerate(rows)], dtype=np.int64)
          for name in ("user_id", "movie_id", "time")),
    )
    if not np.isin(table.labels, (0, 1)).all():
        raise Mistake(f"{path}: labels must be 0 or 1")
    return table.take(np.argsort(table.times, kind="stable"))


def number(path, row, name, value, required=False):
    if value in ("", None) and not required:
        return np.nan
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        parsed = np.nan
    if not np.isfinite(parsed):
        raise Mistake(f"{path}: row {row + 1}: {name} is {value!r}, want a finite number")
    return parsed


def integer(path, row, name, value):
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Mistake(f"{path}: row {row + 1}: {name} is {value!r}, want a whole number") from None


def split_by_time(table):
    """Return train, validate and test: the first 80 %, next 10 % and last 10 %. Rows of one time stay together."""
    bounds = [0]
    for fraction in (0.8, 0.9):
        at = table.times[int(len(table.times) * fraction)]
        bounds.append(int(np.searchsorted(table.times, at, side="left")))
    bounds.append(len(table.times))
    parts = [table.take(slice(*pair)) for pair in zip(bounds, bounds[1:])]
    for name, part in zip(("train", "validate", "test"), parts):
        if len(set(part.labels)) < 2:
            raise Mistake(f"the {name} part has {len(part.labels)} rows and only one label: is `time` spread over the rows?")
    return parts


def defaults(train):
    """Return what stands in for a missing value of each column: 0 for counts and sums, else the median of train."""
    found = []
    for i, name in enumerate(train.columns):
        values = train.features[:, i]
        values = values[~np.isnan(values)]
        zero = ZERO_WHEN_MISSING.fullmatch(name) or len(values) == 0
        # Six digits, so that model.yaml is readable and says exactly what was trained with.
        found.append(0.0 if zero else float(f"{np.median(values):.6g}"))
    return np.array(found)


def fill(features, values):
    """Return features as float32 with the column's value where one is missing."""
    return np.where(np.isnan(features), values, features).astype(np.float32)
