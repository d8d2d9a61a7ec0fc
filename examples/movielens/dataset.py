"""A training set as arrays, split by time."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

# A missing count, sum or number of distinct values means that nothing happened.
ZERO_WHEN_MISSING = re.compile(r".*\.(.*_)?(count|sum|distinct|decayed_sum)(_.*)?")
FEWEST = 30  # rows that can be split


class Mistake(Exception):
    """Something in the training set that the user must correct."""


@dataclass
class Table:
    columns: list  # of the features, in order
    features: np.ndarray  # float64 [rows, columns], NaN where missing
    labels: np.ndarray  # float64 [rows], 0 or 1
    users: np.ndarray  # int64 [rows]
    movies: np.ndarray  # int64 [rows]
    times: np.ndarray  # int64 [rows], microseconds

    def take(self, rows):
        return Table(
            self.columns, self.features[rows], self.labels[rows], self.users[rows], self.movies[rows], self.times[rows]
        )


def of(training_set, request):
    """Return a training set, an Arrow table as client.training_set answers it, ordered by time.

    Of its columns, `label` is 0 or 1, `user_id`, `movie_id` and `event_time` say which row it is, those of request are what a
    caller of the model brings, and those with a point in their names are features. The model's inputs are the features and
    then the fields of the request, named "request.field".
    """
    names = set(training_set.column_names)
    missing = {"label", "user_id", "movie_id", "event_time", *request} - names
    if missing:
        raise Mistake(f"columns {', '.join(sorted(missing))} are missing; there are {', '.join(sorted(names))}")
    features = [name for name in training_set.column_names if "." in name]
    if training_set.num_rows < FEWEST or not features:
        raise Mistake(f"{training_set.num_rows} rows of {len(features)} features are too few to train on")
    columns = [*features, *(f"request.{name}" for name in request)]
    table = Table(
        columns,
        np.stack([numbers(training_set, name) for name in (*features, *request)], axis=1),
        numbers(training_set, "label"),
        *(numbers(training_set, name).astype(np.int64) for name in ("user_id", "movie_id")),
        training_set["event_time"].to_numpy().astype("datetime64[us]").astype(np.int64),
    )
    if not np.isin(table.labels, (0, 1)).all():
        raise Mistake("labels must be 0 or 1")
    return table.take(np.argsort(table.times, kind="stable"))


def numbers(training_set, name):
    """Return a column as float64, NaN where it is null."""
    kind = training_set.schema.field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise Mistake(f"column {name} is {kind}; a model's columns are numbers")
    return training_set[name].cast(pa.float64()).to_numpy()


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
