"""Training sets: spines of every kind, parts, and what they are joined with."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest
from conftest import (
    EVENTS,
    FEATURES,
    NOW,
    START,
    USERS,
    Fake,
    Services,
    expected,
    spine,
    total,
    wait_until,
)

import onehop
from onehop.v1 import feature_service_pb2 as pb

COUNT = FEATURES[0]
Requests = list[pb.GetTrainingSetRequest]


def test_spines_of_every_kind_are_one(client: onehop.Client, tmp_path: Path) -> None:
    rows = spine(500, note=pa.array([f"n{i}" for i in range(500)]))
    whole = client.training_set(rows, features=FEATURES)
    assert whole.column_names == ["user_id", "event_time", "note", *FEATURES]
    assert whole[COUNT].to_pylist() == expected(500)
    pyarrow.parquet.write_table(rows, tmp_path / "s.parquet")
    pyarrow.feather.write_feather(rows, tmp_path / "s.arrow")
    with pa.ipc.new_stream(tmp_path / "s.arrows", rows.schema) as stream:
        stream.write_table(rows)
    texts = rows.set_column(1, "event_time", pa.compute.strftime(rows["event_time"], "%Y-%m-%dT%H:%M:%SZ"))
    pyarrow.csv.write_csv(texts, tmp_path / "s.csv")
    for name in ("s.parquet", "s.arrow", "s.arrows", "s.csv"):
        assert client.training_set(tmp_path / name, features=FEATURES).equals(whole), name
        assert client.training_set(str(tmp_path / name), features=FEATURES[:1])[
            COUNT
        ].to_pylist() == expected(500)
    for other in (rows.to_reader(), rows.combine_chunks().to_batches()[0], texts):
        table = client.training_set(other, features=FEATURES)
        assert table.select(FEATURES).equals(whole.select(FEATURES))


def test_a_frame_comes_back_as_it_was_with_features_beside(client: onehop.Client) -> None:
    frame = spine(100).to_pandas()
    frame["kind"] = pd.Categorical(["a", "b"] * 50)
    frame["event_time"] = frame["event_time"].dt.tz_convert("Europe/Vienna")
    frame["some"] = pd.Series([1, np.int64(2), None, 4.5] * 25, dtype=object)
    frame.index = pd.Index(range(1000, 1100), name="row")
    answer = client.training_set(frame, features=FEATURES, statuses=True)
    pd.testing.assert_frame_equal(answer[frame.columns], frame)
    assert list(answer.columns) == [*frame.columns, *(n + s for n in FEATURES for s in ("", ".status"))]
    assert answer[COUNT].dtype == pd.Int64Dtype()
    assert [None if pd.isna(n) else int(n) for n in answer[COUNT]] == expected(100)


def test_service_and_time_column(client: onehop.Client) -> None:
    rows = spine(3, movie_id=pa.array([1, 1, 1])).rename_columns(["user_id", "at", "movie_id"])
    table = client.training_set(rows, service="movie_ranker", time_column="at")
    assert table.num_columns == 3 + 44
    assert table["movie_info.year"].num_chunks == 1


def test_available_counts_what_had_arrived(client: onehop.Client) -> None:
    table = client.training_set(spine(100), features=FEATURES, mode="available")
    assert table[COUNT].null_count == 100  # the events were pushed after all of these times


def test_a_spine_without_rows(client: onehop.Client) -> None:
    assert client.training_set(spine(0), features=FEATURES).num_rows == 0
    assert client.training_set(spine(0), features=FEATURES).schema.names[-1] == FEATURES[-1]


def test_a_query(sql_url: str, client: onehop.Client) -> None:
    sql_client = onehop.Client(sql_url)
    sql = (
        f"SELECT i % {USERS} AS user_id, to_timestamp({START // 1_000_000} + i) AS event_time "
        "FROM generate_series(0, 99) AS i ORDER BY i"
    )
    table = sql_client.training_set(onehop.Query(sql), features=FEATURES)
    assert table[COUNT].to_pylist() == expected(100)
    with pytest.raises(onehop.InvalidArgument, match="--sql-spines"):
        client.training_set(onehop.Query(sql), features=FEATURES)
    with pytest.raises(onehop.InvalidArgument, match="nowhere"):
        sql_client.training_set(onehop.Query("SELECT * FROM nowhere"), features=FEATURES)


def test_parts_are_joined_with_one_history(client: onehop.Client, requests: Requests) -> None:
    rows = spine(3000, note=pa.array(["x" * 100] * 3000))
    late = rows.set_column(
        1, "event_time", pa.array([START + 7_100_000_000] * 3000, pa.timestamp("us", "UTC"))
    )
    before = client.training_set(late, features=FEATURES)
    assert len(requests) == 1
    seen: list[tuple[int, int | None]] = []
    reader = client.training_set_batches(
        late, features=FEATURES, part_bytes=40_000, progress=lambda *at: seen.append(at)
    )
    first = reader.read_next_batch()
    count = total(client)
    client.push("ratings", [{"user_id": 7, "movie_id": 1, "rating": 1, "event_time": START + 6_000_000_000}])
    wait_until(lambda: total(client) == count + 1)
    wait_until(
        lambda: client.training_set(late.slice(7, 1), features=FEATURES)[COUNT] != before[COUNT].slice(7, 1)
    )
    rest = reader.read_all()
    asked = [r for r in requests if r.HasField("arrow") and len(r.arrow) > 10_000]
    assert len(asked) > 6
    assert max(len(r.arrow) for r in asked[1:]) < 60_000
    assert len({r.history_token for r in asked[2:]}) == 1
    assert pa.concat_tables([pa.Table.from_batches([first]), rest]).equals(before)
    assert seen[-1] == (3000, 3000)
    assert [n for n, _ in seen] == sorted({n for n, _ in seen})


def test_rows_in_errors_count_over_all_parts(client: onehop.Client) -> None:
    rows = spine(2000)
    users = [i if i != 1500 else 2**63 for i in range(2000)]
    rows = rows.set_column(0, "user_id", pa.array(users, pa.uint64()))
    with pytest.raises(onehop.InvalidArgument, match=r'^row 1501, column "user_id"'):
        client.training_set(rows, features=FEATURES, part_bytes=4000)


def test_dictionaries_of_several_chunks(client: onehop.Client) -> None:
    one, two = (pa.array([text] * 30).dictionary_encode() for text in "ab")
    rows = spine(60, kind=pa.chunked_array([one, two]))
    table = client.training_set(rows, features=FEATURES, part_bytes=500)
    assert table["kind"].cast(pa.string()).to_pylist() == ["a"] * 30 + ["b"] * 30


def test_a_reader_that_is_dropped_makes_room(client: onehop.Client) -> None:
    rows = pa.concat_tables([spine(5000)] * 60)

    def begin() -> pa.RecordBatchReader:
        return client.training_set_batches(rows, features=["user_ratings.*"])

    one, two = begin(), begin()
    with pytest.raises(onehop.ResourceExhausted):
        begin()
    del one, two

    def room() -> bool:
        try:
            begin()
        except onehop.ResourceExhausted:
            return False
        return True

    wait_until(room)


def test_memory_does_not_grow_with_the_rows(services: Services) -> None:
    program = Path(__file__).with_name("memory.py")
    found = subprocess.run(
        [sys.executable, program, services.features, str(START)],
        capture_output=True,
        check=True,
        text=True,
        timeout=40,
    )
    sent, grew = map(int, found.stdout.split())
    assert sent > 150 << 20
    assert grew < 60 << 20, f"{grew >> 20} MiB more for {sent >> 20} MiB"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"definitions_version": 2}, onehop.Aborted),
        ({"rows": 5}, onehop.Internal),
        ({"arrow": b"x" * 40}, onehop.Internal),
    ],
)
def test_answers_that_cannot_be(
    fake: tuple[Fake, onehop.Client], message: dict[str, object], error: type[onehop.Error]
) -> None:
    service, client = fake
    answer: Callable[..., Iterator[pb.GetTrainingSetResponse]]

    def answer(request: pb.GetTrainingSetRequest, _: object) -> Iterator[pb.GetTrainingSetResponse]:
        rows = pa.ipc.open_stream(request.arrow).read_all().num_rows
        plain = {"arrow": request.arrow, "rows": rows, "history_token": b"t", "definitions_version": 1}
        yield pb.GetTrainingSetResponse(**{**plain, **(message if len(service.asked) > 1 else {})})

    service.answer = answer
    with pytest.raises(error):
        client.training_set(spine(100), features=FEATURES, part_bytes=500)
    assert service.asked[-1].history_token == b"t"
    assert len(service.asked) == 2


def test_an_answer_that_is_refused_is_not_waited_for(fake: tuple[Fake, onehop.Client]) -> None:
    service, client = fake
    ended = threading.Event()

    def answer(request: pb.GetTrainingSetRequest, context: grpc.ServicerContext) -> Iterator[object]:
        rows = pa.ipc.open_stream(request.arrow).read_all().num_rows
        version = len(service.asked)
        if version == 2:
            assert context.add_callback(ended.set)
        yield pb.GetTrainingSetResponse(arrow=request.arrow, rows=rows, definitions_version=version)
        if version == 2:
            ended.wait(10)

    service.answer = answer
    with pytest.raises(onehop.Aborted) as caught:  # while it is held, so is all that its frames hold
        client.training_set(spine(100), features=FEATURES, part_bytes=500)
    assert ended.wait(5)
    assert "version 1" in caught.value.message


def test_all_events_are_there(client: onehop.Client) -> None:
    assert client.training_set(spine(EVENTS + 100), features=FEATURES)[COUNT].to_pylist()[
        :EVENTS
    ] == expected(EVENTS)


def test_columns_without_values_come_back(client: onehop.Client) -> None:
    labels = pd.DataFrame(
        {"user_id": [1, 2], "event_time": [pd.Timestamp(NOW, unit="us", tz="UTC")] * 2, "label": [None, None]}
    )
    frame = client.training_set(labels, features=FEATURES[:1])
    assert list(frame.columns) == ["user_id", "event_time", "label", FEATURES[0]]
    assert frame["label"].isna().all()
    assert frame[FEATURES[0]].tolist() == [EVENTS // USERS] * 2
