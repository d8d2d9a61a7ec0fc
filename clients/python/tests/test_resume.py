"""Connections that break, and training sets that go on after them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest
from conftest import FEATURES, START, USERS, Fake, Services, expected, record, spine
from proxy import Proxy

import onehop
from onehop.v1 import feature_service_pb2 as pb

COUNT = FEATURES[0]
ROWS = 20_000
WIDE = {"note": pa.array([random.Random(i).randbytes(100) for i in range(ROWS)])}  # compresses to no less
LONG = pa.concat_tables([spine(ROWS, **WIDE)] * 8)  # more than what is on the way at a time


@pytest.fixture(scope="module")
def whole(client: onehop.Client) -> pa.Table:
    table = client.training_set(spine(ROWS, **WIDE), features=FEATURES)
    assert table[COUNT].to_pylist() == expected(ROWS)
    return table


@pytest.mark.parametrize("part_bytes", [32 << 20, 1 << 20], ids=["one_part", "parts"])
@pytest.mark.parametrize("cut", [10, 30_000, 1_200_000])
def test_every_row_comes_once(
    services: Services, whole: pa.Table, monkeypatch: pytest.MonkeyPatch, cut: int, part_bytes: int
) -> None:
    with Proxy(services.features, [cut, cut, cut]) as proxy, onehop.Client(proxy.url) as client:
        asked = record(client, monkeypatch)
        table = client.training_set(spine(ROWS, **WIDE), features=FEATURES, part_bytes=part_bytes)
    assert table.equals(whole)
    assert proxy.connections == 4 if cut < 1_000_000 else proxy.connections > 1
    assert len({r.history_token for r in asked if r.history_token}) <= 1


def test_it_goes_on_after_the_rows_that_came(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(services.features, []) as proxy, onehop.Client(proxy.url) as client:
        asked = record(client, monkeypatch)
        reader = client.training_set_batches(LONG, features=FEATURES)
        first = reader.read_next_batch()
        proxy.cut()
        rest = reader.read_all()
    assert [*first["note"].to_pylist(), *rest["note"].to_pylist()] == LONG["note"].to_pylist()
    assert [r.skip_rows >= first.num_rows for r in asked] == [False, True]
    assert [r.history_token != b"" for r in asked] == [False, True]


def test_what_came_meanwhile_does_not_count(services: Services, client: onehop.Client) -> None:
    late = pa.array([START + 7_050_000_000] * ROWS, pa.timestamp("us", "UTC"))
    rows = pa.concat_tables([pa.table({"user_id": pa.array([5] * ROWS), "event_time": late, **WIDE})] * 8)
    before = client.training_set(rows.slice(0, 1), features=FEATURES)[COUNT][0].as_py()
    with Proxy(services.features, []) as proxy, onehop.Client(proxy.url) as cut:
        reader = cut.training_set_batches(rows, features=FEATURES)
        first = reader.read_next_batch()
        client.push(
            "ratings", [{"user_id": 5, "movie_id": 1, "rating": 1, "event_time": START + 6_500_000_000}]
        )
        deadline = time.monotonic() + 10
        while client.training_set(rows.slice(0, 1), features=FEATURES)[COUNT][0].as_py() == before:
            assert time.monotonic() < deadline
        proxy.cut()
        counts = [*first[COUNT].to_pylist(), *reader.read_all()[COUNT].to_pylist()]
        assert proxy.connections == 2
    assert counts == [before] * ROWS * 8


@pytest.mark.parametrize(
    ("resume", "least"),
    [(onehop.Resume(3, 60), 0.1), (onehop.Resume(1000, 1.5), 0.5)],
    ids=["attempts", "seconds"],
)
def test_it_gives_up(services: Services, resume: onehop.Resume, least: float) -> None:
    with Proxy(services.features, [1 << 40], then_refuse=True) as proxy, onehop.Client(proxy.url) as client:
        reader = client.training_set_batches(LONG, features=FEATURES, resume=resume)
        reader.read_next_batch()
        proxy.cut()
        start = time.monotonic()
        with pytest.raises(onehop.Unavailable, match="was the last that came; gave up after"):
            reader.read_all()
        assert least < time.monotonic() - start < 6


def test_a_call_ends_after_its_timeout_however_often_it_is_tried(services: Services) -> None:
    start = time.monotonic()
    proxy = Proxy(services.features, [], then_refuse=True)
    with (
        proxy,
        onehop.Client(proxy.url) as client,
        pytest.raises((onehop.Unavailable, onehop.DeadlineExceeded)),
    ):
        client.training_set(spine(10), features=FEATURES, timeout=1)
    assert time.monotonic() - start < 3


def test_only_an_ordered_query_goes_on(sql_url: str) -> None:
    sql = (
        f"SELECT i % {USERS} AS user_id, to_timestamp({START // 1_000_000} + i % 5000) AS event_time, "
        "sha512(i::text::bytea) || sha512((-i)::text::bytea) AS note "
        f"FROM generate_series(0, {ROWS * 4 - 1}) AS i ORDER BY i"
    )
    with onehop.Client(sql_url) as client:
        want = client.training_set(onehop.Query(sql), features=FEATURES)
    assert want.num_rows == ROWS * 4
    for ordered in (True, False):
        with Proxy(sql_url, []) as proxy, onehop.Client(proxy.url) as client:
            reader = client.training_set_batches(onehop.Query(sql, ordered=ordered), features=FEATURES)
            first = reader.read_next_batch()
            proxy.cut()
            if ordered:
                assert pa.Table.from_batches([first, *reader]).equals(want)
            else:
                with pytest.raises(onehop.Unavailable, match="not ordered"):
                    reader.read_all()
    with Proxy(sql_url, [10]) as proxy, onehop.Client(proxy.url) as client:  # before any row it begins again
        assert client.training_set(onehop.Query(sql), features=FEATURES).equals(want)


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "INTERNAL"])
def test_what_is_tried_again(fake: tuple[Fake, onehop.Client], code: str) -> None:
    """A service with no room is asked again only for a training set that has begun."""
    import grpc

    service, client = fake
    failing = 1

    def answer(request: pb.GetTrainingSetRequest, context: grpc.ServicerContext) -> Iterator[object]:
        if len(service.asked) == failing + 1:
            context.abort(grpc.StatusCode[code], "so it is")
        rows = pa.ipc.open_stream(request.arrow).read_all().num_rows
        yield pb.GetTrainingSetResponse(arrow=request.arrow, rows=rows, history_token=b"t")

    service.answer = answer
    if code == "RESOURCE_EXHAUSTED":
        assert client.training_set(spine(100), features=FEATURES, part_bytes=500).num_rows == 100
        assert service.asked[1].arrow == service.asked[2].arrow
    else:
        with pytest.raises(onehop.Error, match="so it is"):
            client.training_set(spine(100), features=FEATURES, part_bytes=500)
    service.asked.clear()
    failing = 0
    with pytest.raises(onehop.Error, match="so it is"):
        client.training_set(spine(100), features=FEATURES)
    assert len(service.asked) == 1
