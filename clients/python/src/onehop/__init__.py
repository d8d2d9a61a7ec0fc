"""A client of Onehop, a real-time feature store: training sets, online features, predictions.

Begin at :class:`Client`.
"""

from onehop._channel import TLS
from onehop._client import Client, read_time
from onehop._errors import (
    Aborted,
    Canceled,
    DeadlineExceeded,
    Error,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from onehop._spine import Query
from onehop._training import Resume
from onehop._types import (
    Feature,
    FeatureView,
    JoinKey,
    Model,
    Position,
    Provenance,
    Ranking,
    RequestField,
    Scores,
)

__all__ = [
    "TLS",
    "Aborted",
    "Canceled",
    "Client",
    "DeadlineExceeded",
    "Error",
    "Feature",
    "FeatureView",
    "Internal",
    "InvalidArgument",
    "JoinKey",
    "Model",
    "NotFound",
    "PermissionDenied",
    "Position",
    "Provenance",
    "Query",
    "Ranking",
    "RequestField",
    "ResourceExhausted",
    "Resume",
    "Scores",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "read_time",
]
