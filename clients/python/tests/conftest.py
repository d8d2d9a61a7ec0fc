"""The services that tests run against: `onehop dev` of the example, started once."""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # tests start programs, which need nothing of gRPC

import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest

import onehop
from onehop.v1 import feature_service_pb2 as pb
from onehop.v1 import feature_service_pb2_grpc as pb_grpc
from onehop.v1 import inference_service_pb2_grpc as inference_grpc

ROOT = Path(__file__).parents[3]
BIN = Path(os.environ.get("ONEHOP_BIN", ROOT / "bin"))
USERS, EVENTS = 20, 4000
START = (int(time.time()) - 7200) * 1_000_000
FEATURES = ["user_ratings.count_lifetime", "user_ratings.mean_rating_lifetime", "user_ratings.last_movies"]


@dataclass
class Services:
    """Where everything answers."""

    features: str
    inference: str
    environment: dict[str, str]


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.05)


class Process:
    """A program whose output is kept."""

    def __init__(self, *command: str, environment: dict[str, str] | None = None) -> None:
        self.output = ""
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.output += line

    def says(self, pattern: str) -> re.Match[str]:
        """Wait until the output has the pattern."""
        wait_until(lambda: re.search(pattern, self.output) is not None or self.process.poll() is not None, 40)
        found = re.search(pattern, self.output)
        assert found, self.output
        return found

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.reader.join(5)


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    anywhere = ("--serve-listen", "127.0.0.1:0", "--infer-listen", "127.0.0.1:0")
    dev = Process(str(BIN / "onehop"), "dev", "examples/movielens", *anywhere)
    try:
        dev.says("Ctrl-C stops")
        exports = re.findall(r"(ONEHOP_\w+)='?([^'\s]+)'?", dev.output)
        yield Services(
            dev.says(r"\n *serve +(http://\S+)")[1], dev.says(r"\n *infer +(http://\S+)")[1], dict(exports)
        )
    finally:
        dev.stop()


@pytest.fixture(scope="session")
def sql_url(services: Services) -> Iterator[str]:
    """A second service, which takes queries."""
    flags = ("--sql-spines", "--listen", "127.0.0.1:0")
    service = Process(str(BIN / "serve"), *flags, environment=services.environment)
    try:
        url = "http://" + service.says(r"msg=listening.* address=(\S+)")[1]
        with onehop.Client(url) as client:
            wait_until(lambda: answers(client))
        yield url
    finally:
        service.stop()


def answers(client: onehop.Client) -> bool:
    try:
        return len(client.feature_views()) > 0
    except onehop.Unavailable:
        return False


@pytest.fixture(scope="session")
def client(services: Services) -> Iterator[onehop.Client]:
    with onehop.Client(services.features, services.inference) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def events(client: onehop.Client) -> None:
    """Push ratings, one a second, of users in turn, and wait until they are everywhere."""
    ratings = [
        {
            "user_id": i % USERS,
            "movie_id": i % 7,
            "rating": 1 + i % 9 / 2,
            "event_time": START + i * 1_000_000,
        }
        for i in range(EVENTS)
    ]
    assert len(client.push("ratings", ratings)) == EVENTS
    client.push("movies", [{"movie_id": 1, "title": "Ä", "genres": ["a", "b"], "event_time": START}])
    wait_until(lambda: is_filled(client))
    wait_until(lambda: total(client) == EVENTS)
    wait_until(lambda: client.online_features({"movie_id": 1}, features=["movie_info.title"])[1][0].is_valid)
    rows = pa.table({"user_id": range(USERS), "movie_id": [1] * USERS, "event_time": [NOW] * USERS})
    features = [FEATURES[0], "movie_info.title"]

    def in_history() -> bool:
        table = client.training_set(rows.cast(rows.schema.set(2, TIME)), features=features)
        return (
            table["movie_info.title"][0].is_valid
            and sum(n or 0 for n in table[FEATURES[0]].to_pylist()) == EVENTS
        )

    wait_until(in_history)


TIME = pa.field("event_time", pa.timestamp("us", "UTC"))
NOW = START + 7_000_000_000


def is_filled(client: onehop.Client) -> bool:
    """Say whether the rows of all views are being kept, and not filled any more."""
    try:
        views = [v.name + ".*" for v in client.feature_views() if v.entity]
        client.online_features({"user_id": 1, "movie_id": 1}, features=views)
    except onehop.Unavailable:
        return False
    return True


def total(client: onehop.Client) -> int:
    counts = client.online_features({"user_id": range(USERS)}, features=FEATURES[:1])[FEATURES[0]]
    return sum(n or 0 for n in counts.to_pylist())


def spine(rows: int, **more: Any) -> pa.Table:
    """Make a row for each of the users in turn, one a second, for 5,000 seconds, and again."""
    users = pa.array([i % USERS for i in range(rows)], pa.int64())
    times = pa.array([START + i % 5000 * 1_000_000 for i in range(rows)], pa.timestamp("us", "UTC"))
    return pa.table({"user_id": users, "event_time": times, **more})


def expected(rows: int) -> list[int | None]:
    """Count the events before each row of a spine: the one at its own time is not seen."""
    return [min(i % 5000, EVENTS) // USERS or None for i in range(rows)]


@pytest.fixture
def requests(client: onehop.Client, monkeypatch: pytest.MonkeyPatch) -> list[pb.GetTrainingSetRequest]:
    """What is asked of the service by the client from here on."""
    return record(client, monkeypatch)


def record(client: onehop.Client, monkeypatch: pytest.MonkeyPatch) -> list[pb.GetTrainingSetRequest]:
    asked: list[pb.GetTrainingSetRequest] = []
    whole = client._features.GetTrainingSet

    def call(request: pb.GetTrainingSetRequest, **options: Any) -> Any:
        asked.append(request)
        return whole(request, **options)

    monkeypatch.setattr(client._features, "GetTrainingSet", call)
    return asked


class Fake(pb_grpc.FeatureServiceServicer, inference_grpc.InferenceServiceServicer):
    """A service that answers what tests tell it to, for what the real one never does."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.answer: Callable[[Any, grpc.ServicerContext], Any] = lambda _request, _context: None

    def _take(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.append(request)
        self.metadata.append({str(key): value for key, value in context.invocation_metadata()})
        return self.answer(request, context)

    GetOnlineFeatures = ListFeatureViews = GetFeatureView = GetTrainingSet = ListModels = _take


def serve(fake: Fake, credentials: grpc.ServerCredentials | None = None) -> tuple[grpc.Server, int]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    pb_grpc.add_FeatureServiceServicer_to_server(fake, server)
    inference_grpc.add_InferenceServiceServicer_to_server(fake, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("localhost:0", credentials)
    server.start()
    return server, port


@pytest.fixture
def fake() -> Iterator[tuple[Fake, onehop.Client]]:
    service = Fake()
    server, port = serve(service)
    url = f"http://127.0.0.1:{port}"
    with onehop.Client(url, url, token="secret") as made:
        yield service, made
    server.stop(None).wait(5)
