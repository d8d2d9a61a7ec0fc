"""Features as of now, predictions, and what the services say of themselves."""

from __future__ import annotations

import json
import math
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import EVENTS, FEATURES, START, USERS, Fake, wait_until

import onehop
from onehop.v1 import feature_service_pb2 as pb
from onehop.v1 import inference_service_pb2 as inference_pb
from onehop.v1 import values_pb2


def test_online_is_the_training_set_at_the_time_of_the_read(client: onehop.Client) -> None:
    keys = {"user_id": [*range(USERS), 12345], "movie_id": 1}
    ask = {
        "features": ["user_ratings.*", "movie_ratings.*", "movie_info.*", "match.*"],
        "statuses": True,
        "event_times": True,
    }
    online = client.online_features(keys, request={"hour_of_day": [*range(USERS), 22.5]}, **ask)
    moment = onehop.read_time(online)
    assert abs(moment.timestamp() - time.time()) < 60
    times = pa.array([moment] * online.num_rows, pa.timestamp("us", "UTC"))
    spine = online.select(["user_id", "movie_id", "hour_of_day"]).append_column("event_time", times)
    joined = client.training_set(spine, **ask)
    assert joined.column_names == [*spine.column_names, *online.column_names[3:]]
    for name in online.column_names:
        assert joined[name].type == online[name].type, name
        assert joined[name].to_pylist() == online[name].to_pylist(), name
    assert sum(n or 0 for n in online["user_ratings.count_lifetime"].to_pylist()) == EVENTS
    assert online["user_ratings.last_movies"][0].as_py()
    assert online["movie_info.title"][3].as_py() == "Ä"
    assert online["match.late"].to_pylist() == [False] * USERS + [True]
    gaps = zip(
        online["movie_ratings.mean_rating_30d"].to_pylist(),
        online["user_ratings.mean_rating_30d"].to_pylist(),
    )
    assert online["match.gap"].to_pylist() == [None if u is None else m - u for m, u in gaps]
    assert online["match.gap"][0].as_py() is not None
    assert online["user_ratings.count_lifetime.status"][USERS].as_py() == "NOT_FOUND"
    last = datetime.fromtimestamp(START / 1e6 + EVENTS - USERS, timezone.utc)
    assert online["user_ratings.last_rating.event_time"][0].as_py() == last


def test_request_fields_that_are_missing_are_named(client: onehop.Client) -> None:
    with pytest.raises(onehop.InvalidArgument, match='"hour_of_day" is missing; feature "match'):
        client.online_features({}, features=["match.late"])
    view = client.feature_view("match")
    assert view.request == (onehop.RequestField("hour_of_day", "float64"),)
    assert [f.expression for f in view.features if f.name == "late"] == ["request.hour_of_day >= 22.0"]
    assert not view.entity
    assert not view.join_keys


def test_types_are_those_of_the_definitions_where_no_value_shows_them(client: onehop.Client) -> None:
    table = client.online_features({"user_id": [777]}, features=["user_ratings.last_movies"])
    assert table.schema.field(1).type == pa.list_(pa.int64())
    assert table.column_names == ["user_id", "user_ratings.last_movies"]
    assert table[1].to_pylist() == [None]


def test_values_that_are_none_are_null(fake: tuple[Fake, onehop.Client]) -> None:
    service, client = fake
    statuses = [1, 2, 3, 4, 5, 6, 7, 8]
    service.answer = lambda *_: pb.GetOnlineFeaturesResponse(
        rows=8,
        columns=[
            pb.GetOnlineFeaturesResponse.DESCRIPTOR.fields_by_name["columns"].message_type._concrete_class(
                name="v.f",
                values=values_pb2.Values(double=[7.0] * 8),
                statuses=statuses,
                event_times_us=[0] * 8,
            )
        ],
    )
    table = client.online_features({"k": list(range(8))}, features=["v.f"], allow_stale=True, statuses=True)
    assert table["v.f"].to_pylist() == [7.0, None, None, None, 7.0, 7.0, None, None]
    assert table["v.f.status"].to_pylist()[:2] == ["PRESENT", "NULL"]
    assert service.asked[0].allow_stale
    assert service.metadata[0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([1, 2], "int64"),
        (3, "int64"),
        (["a"], "string"),
        ("a", "string"),
        (b"a", "bytes"),
        ([1.5, 2], "double"),
        ([True], "bool"),
        (pa.chunked_array([[1], [2]], pa.uint8()), "int64"),
        (pa.array(["a", "a"]).dictionary_encode(), "string"),
    ],
)
def test_keys_of_every_type(fake: tuple[Fake, onehop.Client], values: object, field: str) -> None:
    service, client = fake
    service.answer = lambda *_: pb.GetOnlineFeaturesResponse(rows=1)
    client.online_features({"k": values}, features=["v.f"])
    sent = service.asked[0].entities["k"]
    assert [f.name for f, _ in sent.ListFields()] == [field]


@pytest.mark.parametrize(
    ("entities", "says"),
    [
        ({"k": [1, None]}, "'k': value 2 is missing"),
        ({"k": [1, "a"]}, "'k': give values of one type"),
        ({"k": [[1]]}, "'k' is list<"),
        ({"k": [2**63]}, "'k'"),
        ([1], "entities is list"),
    ],
)
def test_keys_that_are_none(client: onehop.Client, entities: object, says: str) -> None:
    with pytest.raises(onehop.InvalidArgument) as caught:
        client.online_features(entities, features=["user_ratings.*"])  # type: ignore[arg-type]
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (math.nan, "value 1 is NaN, which is no value"),
        ([1.5, math.nan], "value 2 is NaN, which is no value"),
        (np.array([1, np.nan], np.float32), "value 2 is NaN, which is no value"),
        (pd.Series([1, np.nan], index=[7, 8]), "value 2 is NaN, which is no value"),
        ([1.5, None], "value 2 is missing"),
        (pd.Series([1, None], dtype="Int64"), "value 2 is missing"),
        (iter([1.5, None]), "value 2 is missing"),
        ([np.float32("nan")], "value 1 is not finite"),  # which the service says
        (pa.array([1.5, math.nan]), "value 2 is not finite"),
    ],
)
def test_request_fields_that_are_no_numbers(client: onehop.Client, given: object, says: str) -> None:
    with pytest.raises(onehop.InvalidArgument, match=f"request: .hour_of_day.: {says}"):
        client.online_features({}, features=["match.late"], request={"hour_of_day": given})


def test_predictions(client: onehop.Client) -> None:
    ask = {"entities": {"user_id": 1}, "request": {"hour_of_day": 20.0, "day_of_week": 5}}
    ranking = client.get_features_and_predict(
        "movie_ranker", candidates={"movie_id": [5, 1, 3]}, return_features=True, **ask
    )
    scores = ranking.table["score"].to_pylist()
    assert scores == sorted(scores, reverse=True)
    assert [[5, 1, 3][i] for i in ranking.table["index"].to_pylist()] == ranking.table["movie_id"].to_pylist()
    assert (ranking.model, ranking.version, ranking.variant) == ("movie_ranker", 1, "default")
    with pytest.raises(onehop.NotFound, match='no alias "next"'):
        client.get_features_and_predict("movie_ranker", candidates={"movie_id": [5]}, alias="next", **ask)
    assert sum(ranking.status_counts.values()) > 100
    best = client.get_features_and_predict("movie_ranker", candidates={"movie_id": [5, 1, 3]}, top_k=1, **ask)
    assert best.table["score"].to_pylist() == scores[:1]
    assert best.table.column_names == ["movie_id", "index", "score"]
    told = client.get_features_and_predict(
        "movie_ranker",
        candidates={"movie_id": [5, 1, 3]},
        priority="high",
        read_timeout=2,
        no_cache=True,
        provenance=True,
        **ask,
    )
    assert told.table["score"].to_pylist() == pytest.approx(scores, abs=1e-2)
    assert told.staleness == timedelta()
    assert told.wait <= told.run
    assert {p.view for p in told.provenance} > {"user_ratings", "movie_ratings"}
    assert all(next_offset >= 0 for p in told.provenance for next_offset in p.watermarks.values())
    with pytest.raises(onehop.InvalidArgument, match="priority is 'urgent'"):
        client.get_features_and_predict(
            "movie_ranker", candidates={"movie_id": [5]}, priority="urgent", **ask
        )
    with pytest.raises(onehop.InvalidArgument, match="the request wants no default"):
        client.get_features_and_predict(
            "movie_ranker", candidates={"movie_id": [987654321]}, fail_on_missing=True, **ask
        )
    # The columns that went into the model give the same scores again.
    columns = {
        n: [0 if v is None else v for v in ranking.table[n].to_pylist()]
        for n in ranking.table.column_names[3:]
        if ranking.table[n].null_count == 0
    }
    again = client.predict("movie_ranker", columns)
    assert list(again.scores) == pytest.approx(scores, abs=1e-5)


def test_what_the_services_say_of_themselves(client: onehop.Client) -> None:
    model, trees = client.models()
    assert (model.name, model.version, model.default, model.problem) == ("movie_ranker", 1, True, "")
    assert (trees.name, trees.columns) == ("movie_ranker_gbt", model.columns)
    assert "user_ratings.count_1h" in model.columns
    views = client.feature_views()
    assert "user_ratings" in [v.name for v in views]
    view = client.feature_view("user_ratings")
    assert view in views
    assert view.join_keys == (("user_id", "int64"),)
    assert {f.name: f.type for f in view.features}["last_movies"] == "list<int64>"
    assert view.ttl is None


def test_caches_that_are_off_are_named(fake: tuple[Fake, onehop.Client]) -> None:
    service, client = fake
    both = [
        inference_pb.Model(name="ranker", version=2, columns=["u.age"], caches_off=["exact", "request"]),
        inference_pb.Model(name="ranker", version=3),
    ]
    service.answer = lambda *_: inference_pb.ListModelsResponse(models=both)
    off, on = client.models()
    assert (off.version, off.columns, off.caches_off) == (2, ("u.age",), ("exact", "request"))
    assert (on.version, on.caches_off) == (3, ())


def test_push_says_where_and_takes_json(client: onehop.Client) -> None:
    event = {"user_id": 4711, "age": 30, "occupation": "Öl", "event_time": START}
    first, second = client.push("users", [event, json.dumps({**event, "event_time": START + 1})])
    assert first.partition == second.partition
    assert second.offset == first.offset + 1
    wait_until(
        lambda: client.online_features({"user_id": 4711}, features=["user_info.age"])[1].to_pylist() == [30]
    )


def test_statistics(client: onehop.Client) -> None:
    table = client.statistics(features=[*FEATURES, "movie_info.title"], days=2, sample=100)
    assert table.num_rows == 8
    count = table.filter(pc.equal(table["feature"], FEATURES[0])).to_pylist()
    assert [row["rows"] for row in count] == [USERS, USERS]
    assert count[1]["nulls"] == 0
    assert count[1]["min"] >= EVENTS // USERS
    assert count[1]["p1"] <= count[1]["p50"] <= count[1]["p99"] <= count[1]["max"]
    assert count[1]["psi"] is None
    title = table.filter(pc.equal(table["feature"], "movie_info.title")).to_pylist()[1]
    assert title["distinct"] >= 1
    assert title["mean"] is None
    with pytest.raises(onehop.NotFound):
        client.statistics(service="none")
