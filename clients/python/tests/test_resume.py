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
    if cut > 1_000_000 and part_bytes > 1 << 20:
        assert asked[1].skip_rows > 0
        assert asked[1].history_token
    assert len({r.history_token for r in asked if r.history_token}) <= 1


def test_what_came_meanwhile_does_not_count(services: Services, client: onehop.Client) -> None:
    late = pa.array([START + 7_050_000_000] * ROWS, pa.timestamp("us", "UTC"))
    rows = pa.table({"user_id": pa.array([5] * ROWS), "event_time": late, **WIDE})
    before = client.training_set(rows.slice(0, 1), features=FEATURES)[COUNT][0].as_py()
    with Proxy(services.features, [900_000]) as proxy, onehop.Client(proxy.url) as cut:
        reader = cut.training_set_batches(rows, features=FEATURES)
        first = reader.read_next_batch()
        client.push(
            "ratings", [{"user_id": 5, "movie_id": 1, "rating": 1, "event_time": START + 6_500_000_000}]
        )
        deadline = time.monotonic() + 10
        while client.training_set(rows.slice(0, 1), features=FEATURES)[COUNT][0].as_py() == before:
            assert time.monotonic() < deadline
        counts = [*first[COUNT].to_pylist(), *reader.read_all()[COUNT].to_pylist()]
        assert proxy.connections == 2
    assert counts == [before] * ROWS


def test_it_gives_up(services: Services, whole: pa.Table) -> None:
    rows = spine(ROWS, **WIDE)
    for resume, least, most in (
        (onehop.Resume(attempts=3, seconds=60), 0.1, 5),
        (onehop.Resume(attempts=1000, seconds=1.5), 0.5, 5),
    ):
        with (
            Proxy(services.features, [1_500_000], then_refuse=True) as proxy,
            onehop.Client(proxy.url) as client,
        ):
            reader = client.training_set_batches(rows, features=FEATURES, resume=resume)
            first = reader.read_next_batch()
            assert first.equals(whole.slice(0, first.num_rows).combine_chunks().to_batches()[0])
            start = time.monotonic()
            with pytest.raises(onehop.Unavailable, match="was the last that came; gave up after"):
                reader.read_all()
            assert least < time.monotonic() - start < most


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
        f"FROM generate_series(0, {ROWS - 1}) AS i ORDER BY i"
    )
    with onehop.Client(sql_url) as client:
        want = client.training_set(onehop.Query(sql), features=FEATURES)
    assert want.num_rows == ROWS
    with Proxy(sql_url, [1_500_000]) as proxy, onehop.Client(proxy.url) as client:
        assert client.training_set(onehop.Query(sql, ordered=True), features=FEATURES).equals(want)
        assert proxy.connections == 2
    proxy = Proxy(sql_url, [1_500_000])
    with proxy, onehop.Client(proxy.url) as client, pytest.raises(onehop.Unavailable, match="not ordered"):
        client.training_set(onehop.Query(sql), features=FEATURES)
    with Proxy(sql_url, [10]) as proxy, onehop.Client(proxy.url) as client:  # before any row it begins again
        assert client.training_set(onehop.Query(sql), features=FEATURES).num_rows == ROWS


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
