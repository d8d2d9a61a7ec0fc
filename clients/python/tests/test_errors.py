"""Errors, timeouts, TLS, and that what is public is documented."""

from __future__ import annotations

import inspect
import subprocess
import time
from pathlib import Path

import grpc
import pytest
from conftest import START, Fake, Services, serve, spine

import onehop
from onehop.v1 import feature_service_pb2 as pb


def test_errors_of_the_services(client: onehop.Client, services: Services) -> None:
    with pytest.raises(onehop.NotFound, match='"nothing"') as missing:
        client.feature_view("nothing")
    assert missing.value.code == "NOT_FOUND"
    assert isinstance(missing.value, onehop.Error)
    with pytest.raises(onehop.InvalidArgument, match="either feature_service or features"):
        client.online_features({"user_id": 1})
    with pytest.raises(onehop.InvalidArgument, match=r"events\[1\]"):
        client.push("users", [{"user_id": 1, "event_time": START}, {"user_id": "x"}])
    with pytest.raises(onehop.NotFound, match="movie"):
        client.predict("movies", {"a": [1.0]})
    with onehop.Client(services.inference) as wrong, pytest.raises(onehop.Unimplemented):
        wrong.feature_views()


def test_errors_before_anything_is_sent(client: onehop.Client) -> None:
    with pytest.raises(onehop.InvalidArgument, match=r"events\[1\]: .*datetime"):
        client.push("users", [{}, {"event_time": __import__("datetime").datetime.now()}])
    with pytest.raises(onehop.InvalidArgument, match="give a list"):
        client.online_features({"user_id": 1}, features="user_ratings.*")
    with pytest.raises(onehop.InvalidArgument, match="http://host:port"):
        onehop.Client("localhost:8081")
    with pytest.raises(onehop.InvalidArgument, match="https"):
        onehop.Client("http://localhost:8081", tls=onehop.TLS())
    with (
        onehop.Client("http://127.0.0.1:1") as lone,
        pytest.raises(onehop.InvalidArgument, match="inference_url"),
    ):
        lone.models()


def test_nobody_there() -> None:
    with onehop.Client("http://127.0.0.1:1") as client, pytest.raises(onehop.Unavailable):
        client.feature_views()


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:])
def test_every_code_is_an_error(fake: tuple[Fake, onehop.Client], code: grpc.StatusCode) -> None:
    service, client = fake
    service.answer = lambda _, context: context.abort(code, "so it is")
    with pytest.raises(onehop.Error, match="so it is") as caught:
        client.feature_views()
    assert caught.value.code == code.name
    assert caught.value.message == "so it is"


def test_calls_end_after_their_timeout(fake: tuple[Fake, onehop.Client]) -> None:
    service, client = fake
    service.answer = lambda *_: time.sleep(1)
    start = time.monotonic()
    with pytest.raises(onehop.DeadlineExceeded):
        client.feature_views(timeout=0.2)
    with pytest.raises(onehop.DeadlineExceeded):
        client.training_set(spine(1), features=["v.f"], timeout=0.2)
    client._timeout = 0.2
    with pytest.raises(onehop.DeadlineExceeded):
        client.feature_view("v")
    assert time.monotonic() - start < 0.9
    assert onehop.Client("http://h:1")._timeout == 10


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    fake = Fake()
    fake.answer = lambda *_: pb.ListFeatureViewsResponse()
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    server, port = serve(fake, credentials)
    try:
        for ca in (certificate, certificate.read_bytes()):
            with onehop.Client(f"https://localhost:{port}", tls=onehop.TLS(ca=ca), token="t") as client:
                assert client.feature_views() == []
        with onehop.Client(f"https://localhost:{port}") as client, pytest.raises(onehop.Unavailable):
            client.feature_views()
    finally:
        server.stop(None).wait(5)
    assert fake.metadata[0]["authorization"] == "Bearer t"


def test_every_public_name_is_documented() -> None:
    for name in onehop.__all__:
        thing = getattr(onehop, name)
        assert thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__, name
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if inspect.isfunction(value) and not member.startswith("_"):
                    assert value.__doc__, f"{name}.{member}"
