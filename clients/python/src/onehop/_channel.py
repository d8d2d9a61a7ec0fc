"""Connections to the services."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional, TypeVar, Union
from urllib.parse import urlsplit

import grpc

from onehop import _errors

PathOrPEM = Union[str, "os.PathLike[str]", bytes]
Metadata = tuple[tuple[str, str], ...]
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

_MAX_RESPONSE = 256 << 20
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_RESPONSE),
    # A peer that vanished without a word is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Who resumes a training set decides when to try again.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


@dataclass(frozen=True)
class TLS:
    """How an ``https`` URL is trusted and what this client shows of itself.

    Each is a path to a PEM file, or PEM in bytes. Without ``ca`` the roots that gRPC brings are
    trusted; ``certificate`` and ``key`` are for services that ask their callers for one.
    """

    ca: Optional[PathOrPEM] = None
    certificate: Optional[PathOrPEM] = None
    key: Optional[PathOrPEM] = None


def _pem(value: PathOrPEM | None) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    with open(value, "rb") as file:
        return file.read()


def connect(url: str, tls: TLS | None) -> grpc.Channel:
    """Open a channel, which connects when it is first used. The caller closes it."""
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
    ):
        raise _errors.InvalidArgument(
            f"{url!r} is not a service's URL: write http://host:port, or https://host:port for TLS"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    target = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if parts.scheme == "http":
        if tls is not None:
            raise _errors.InvalidArgument(f"tls is given and {url!r} is without TLS: write https://")
        return grpc.insecure_channel(target, options=_OPTIONS)
    tls = tls or TLS()
    credentials = grpc.ssl_channel_credentials(_pem(tls.ca), _pem(tls.key), _pem(tls.certificate))
    return grpc.secure_channel(target, credentials, options=_OPTIONS)


def bearer(token: str | None) -> Metadata:
    """Return what is sent with each call."""
    return () if token is None else (("authorization", f"Bearer {token}"),)


def call(
    method: grpc.UnaryUnaryMultiCallable[_Request, _Response],
    request: _Request,
    timeout: float,
    metadata: Metadata,
) -> _Response:
    """Make a call; its failure is one of this package's errors."""
    try:
        return method(request, timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        raise _errors.from_rpc(error) from None
