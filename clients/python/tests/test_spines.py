"""Spines with mistakes: errors name column, row and what to do, before anything is sent."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from conftest import FEATURES, Fake

import onehop
from onehop.v1 import feature_service_pb2 as pb

UTC = dt.timezone.utc
ZONED = dt.datetime(2026, 1, 2, tzinfo=UTC)
NAIVE = dt.datetime(2026, 1, 2)
ELSEWHERE = dt.datetime(2026, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1)))


def frame(times: Any, users: Any = (1, 2, 3)) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, "event_time": times})


def objects(*values: Any) -> Any:
    return pd.Series(values, dtype=object)


@pytest.mark.parametrize(
    ("spine", "says"),
    [
        (frame([NAIVE] * 3), 'row 1, column "event_time": 2026-01-02 00:00:00 has no time zone'),
        (frame([NAIVE] * 3), 'tz_localize("UTC")'),
        (frame(objects(ZONED, ZONED, ELSEWHERE)), 'row 3, column "event_time": 2026-01-02 00:00:00+01:00'),
        (frame(objects(ZONED, ELSEWHERE, ZONED)), "pandas.to_datetime(…, utc=True)"),
        (frame(objects(ZONED, NAIVE, ZONED)), 'row 2, column "event_time"'),
        (frame(objects(ZONED, None, ZONED)), 'row 2, column "event_time": there is no time'),
        (frame(pd.Series([ZONED, ZONED, None])), 'row 3, column "event_time": there is no time'),
        (frame(objects(ZONED, ZONED, "x")), "row 3, column \"event_time\": 'x' is str"),
        (frame([1.5, 2, 3]), 'row 1, column "event_time": 1.5 is double; times are'),
        (frame(["2026-01-02T00:00:00Z"] * 2 + ["2026-01-02T00:00:00"]), 'row 3, column "event_time"'),
        (frame(["2026-01-02T00:00:00Z"] * 2 + ["2026-01-02T00:00:00"]), "has no time zone: write it as"),
        (frame(["2026-01-02t00:00:00z", "soon", ""]), 'row 2, column "event_time": "soon" is no time'),
        (
            frame([ZONED] * 3, objects(1, 2, "c")),
            "'c' is str; the rows before are int: make",
        ),
        (frame([ZONED] * 3, [1.5, 2, 3]), 'column "user_id" is float64'),
        (frame([ZONED] * 3).rename(columns={"event_time": "t"}), 'no column "event_time"'),
        (frame([ZONED] * 3).rename(columns={"user_id": "t"}), 'no column "user_id"'),
        (frame([ZONED] * 3).rename(columns={"user_id": 7}), "column 7"),
        (frame([ZONED] * 3).rename(columns={"user_id": "event_time"}), 'two columns "event_time"'),
        (pa.table({"user_id": [1], "event_time": [NAIVE]}), "has no time zone"),
        ([1, 2], "a spine cannot be list"),
        ("spine.txt", "spine.txt ends with none"),
    ],
)
def test_mistakes(client: onehop.Client, requests: list[Any], spine: Any, says: str) -> None:
    with pytest.raises(onehop.InvalidArgument) as caught:
        client.training_set(spine, features=FEATURES)
    assert says in str(caught.value)
    assert not (says.startswith("row ") and requests)


def test_rows_count_over_all_batches(client: onehop.Client) -> None:
    times = pa.array([ZONED] * 30_000 + [None], pa.timestamp("us", "UTC"))
    rows = pa.table({"user_id": range(30_001), "event_time": times})
    with pytest.raises(onehop.InvalidArgument, match=r"^row 30001, column"):
        client.training_set(rows, features=FEATURES)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["1,2026-01-02T00:00:00Z", "2,2026-01-02 00:00:00"], 'row 2, column "event_time"'),
        (
            ["1,2026-01-02T00:00:00Z", "x2,2026-01-02T00:00:00Z"],
            'row 2, column "user_id": "x2" is not an integer',
        ),
        (
            ["9223372036854775807,2026-01-02T00:00:00Z", "-,2026-01-02T00:00:00Z"],
            'row 2, column "user_id": "-" is not',
        ),
        (["1,2026-01-02T00:00:00Z", "2"], "s.csv"),
    ],
)
def test_mistakes_in_csv(client: onehop.Client, tmp_path: Path, lines: list[str], says: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["user_id,event_time", *lines]))
    with pytest.raises(onehop.InvalidArgument) as caught:
        client.training_set(path, features=FEATURES)
    assert says in str(caught.value)


def test_csv_is_read_as_it_is_written(client: onehop.Client, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text('user_id,event_time,word\n1,2026-01-02T01:00:00.5+01:00,NA\n,2026-01-02T00:00:00Z,""\n')
    table = client.training_set(path, features=FEATURES)
    assert table["word"].to_pylist() == ["NA", None]
    assert table["user_id"].to_pylist() == [1, None]
    assert table["event_time"][0].as_py() == ZONED + dt.timedelta(seconds=0.5)
    assert table.schema.field("event_time").type == pa.timestamp("us", "UTC")


def test_csv_keys_are_what_the_service_says(fake: tuple[Fake, onehop.Client], tmp_path: Path) -> None:
    service, client = fake
    keys = [pb.JoinKey(name="zip", type="string"), pb.JoinKey(name="raw", type="bytes")]
    views = [pb.FeatureView(name="v", join_keys=keys), pb.FeatureView(name="w", join_keys=[KEY_INT])]
    views.append(pb.FeatureView(name="x", join_keys=[KEY_TEXT]))

    def answer(request: Any, _: Any) -> Any:
        if isinstance(request, pb.ListFeatureViewsRequest):
            return pb.ListFeatureViewsResponse(views=views)
        return iter([pb.GetTrainingSetResponse(arrow=request.arrow, rows=1)])

    service.answer = answer
    path = tmp_path / "s.csv"
    path.write_text("zip,raw,both,event_time\n007,AP8=,7,2026-01-02T00:00:00Z\n")
    (row,) = client.training_set(path, features=["v.f"]).to_pylist()
    assert row == {"zip": "007", "raw": b"\x00\xff", "both": 7, "event_time": ZONED}
    path.write_text("raw,event_time\n?,2026-01-02T00:00:00Z\n")
    with pytest.raises(onehop.InvalidArgument, match=r'row 1, column "raw": .* is not base64'):
        client.training_set(path, features=["v.f"])


KEY_INT, KEY_TEXT = pb.JoinKey(name="both", type="int64"), pb.JoinKey(name="both", type="string")


def test_options_that_cannot_be(client: onehop.Client, tmp_path: Path) -> None:
    rows = pa.table({"user_id": [1], "event_time": [ZONED]})
    with pytest.raises(onehop.InvalidArgument, match="mode is 'now'"):
        client.training_set(rows, features=FEATURES, mode="now")  # type: ignore[call-overload]
    for size in (0, 49 << 20):
        with pytest.raises(onehop.InvalidArgument, match="part_bytes"):
            client.training_set(rows, features=FEATURES, part_bytes=size)
    with pytest.raises(onehop.InvalidArgument, match="give either"):
        client.training_set(rows)
    with pytest.raises(FileNotFoundError):
        client.training_set(tmp_path / "none.csv", features=FEATURES)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(onehop.InvalidArgument, match=r"broken\.parquet"):
        client.training_set(broken, features=FEATURES)
