"""Errors, one class for each code that the services answer with."""

from __future__ import annotations

from typing import Any

import grpc


class Error(Exception):
    """What a service, or this client before it, says is wrong.

    ``code`` is the name of a gRPC code, such as ``"INVALID_ARGUMENT"``; ``message`` says what
    happened and what to do.
    """

    code = "UNKNOWN"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidArgument(Error, ValueError):
    """The request is wrong; sent again it would be refused again."""

    code = "INVALID_ARGUMENT"


class NotFound(Error, LookupError):
    """There is no such feature, view, source or model."""

    code = "NOT_FOUND"


class Unavailable(Error):
    """The service, or what it needs, does not answer now; try again later."""

    code = "UNAVAILABLE"


class ResourceExhausted(Error):
    """The service has too much to do, or the answer is too large."""

    code = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(Error, TimeoutError):
    """The timeout passed first."""

    code = "DEADLINE_EXCEEDED"


class Canceled(Error):
    """The call was ended before its answer, as when the client is closed."""

    code = "CANCELLED"


class Aborted(Error):
    """What the call builds on changed meanwhile; begin again."""

    code = "ABORTED"


class Internal(Error):
    """The service has a fault; its log has the error under the id in the message."""

    code = "INTERNAL"


class Unauthenticated(Error):
    """The token is missing or not accepted."""

    code = "UNAUTHENTICATED"


class PermissionDenied(Error):
    """The token does not allow this."""

    code = "PERMISSION_DENIED"


class Unimplemented(Error):
    """What answers at the address has no such call; perhaps it is another service's URL."""

    code = "UNIMPLEMENTED"


_CLASSES: dict[str, type[Error]] = {
    c.code: c
    for c in (
        InvalidArgument,
        NotFound,
        Unavailable,
        ResourceExhausted,
        DeadlineExceeded,
        Canceled,
        Aborted,
        Internal,
        Unauthenticated,
        PermissionDenied,
        Unimplemented,
    )
}


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the code of a call that failed."""
    code: Any = getattr(error, "code", None)
    return code() if callable(code) else grpc.StatusCode.UNKNOWN


def details_of(error: grpc.RpcError) -> str:
    """Return the message of a call that failed."""
    details: Any = getattr(error, "details", None)
    return str(details()) if callable(details) else str(error)


def from_rpc(error: grpc.RpcError, more: str = "") -> Error:
    """Make the exception of a call that failed; more is added to the message."""
    code = code_of(error).name
    message = details_of(error) + more
    return _CLASSES.get(code, Error)(message, code)
