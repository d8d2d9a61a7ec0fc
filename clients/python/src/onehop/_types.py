"""What the services say of views, models and predictions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

import pyarrow as pa

from onehop.v1 import feature_service_pb2, inference_service_pb2

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def moment(microseconds: int) -> datetime.datetime:
    """Return a time of the wire."""
    return _EPOCH + datetime.timedelta(microseconds=microseconds)


class RequestField(NamedTuple):
    """A field of a request, from which on-demand features are computed: name and type."""

    name: str
    type: str


class JoinKey(NamedTuple):
    """A part of an entity's key: its name and its type, "int64", "string" or "bytes"."""

    name: str
    type: str


@dataclass(frozen=True)
class Feature:
    """One feature of a view, over one window, or an on-demand one, which has an expression."""

    name: str
    type: str
    aggregate: str
    field: str
    window: str
    description: str
    expression: str = ""


@dataclass(frozen=True)
class FeatureView:
    """A feature view, or a group of on-demand features, which has no entity and no source.

    ``ttl`` is None for values that do not expire. ``request`` are the fields from which
    on-demand features are computed.
    """

    name: str
    entity: str
    join_keys: Sequence[JoinKey]
    source: str
    ttl: Optional[datetime.timedelta]
    generation: int
    features: Sequence[Feature]
    request: Sequence[RequestField] = ()


@dataclass(frozen=True)
class Model:
    """One version of a model.

    ``problem`` says why it cannot be served or, with columns, what is not as its files say; empty
    when all is well. ``caches_off`` names its caches, "exact" or "request", that have turned
    themselves off because they cost more than they save.
    """

    name: str
    version: int
    default: bool
    problem: str
    sha256: str
    columns: Sequence[str]
    candidates: str
    caches_off: Sequence[str] = ()


class Position(NamedTuple):
    """Where Kafka has an event."""

    partition: int
    offset: int


@dataclass(frozen=True)
class Provenance:
    """Up to which events the rows of a view in one of its 64 buckets are folded.

    ``watermarks`` has, by topic id and partition, the offset of the first event that does not count.
    """

    view: str
    bucket: int
    watermarks: Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class Ranking:
    """Candidates with their scores, best first.

    ``table`` has the candidates' join keys, ``index``, the candidate's position in the request
    from 0, ``score`` and, where asked for, the columns that went into the model.
    """

    model: str
    version: int
    table: pa.Table
    read_time: datetime.datetime
    freshness: datetime.timedelta
    status_counts: Mapping[str, int]
    read: datetime.timedelta
    assemble: datetime.timedelta
    run: datetime.timedelta
    #: As what the version answered: ``default``, ``canary``, ``pinned`` or a variant of an A/B test.
    variant: str = ""
    #: How much of ``run`` was waiting for the model.
    wait: datetime.timedelta = datetime.timedelta()
    #: How old the oldest row is that came from the service's memory.
    staleness: datetime.timedelta = datetime.timedelta()
    #: Whether the answer was kept from an equal request.
    cached: bool = False
    #: Where asked for.
    provenance: Sequence[Provenance] = ()


@dataclass(frozen=True)
class Scores:
    """A score for each row that was sent, in order."""

    model: str
    version: int
    scores: Sequence[float]


def view_of(m: feature_service_pb2.FeatureView) -> FeatureView:
    """Make a view of its message."""
    return FeatureView(
        name=m.name,
        entity=m.entity,
        join_keys=tuple(JoinKey(k.name, k.type) for k in m.join_keys),
        source=m.source,
        ttl=datetime.timedelta(seconds=m.ttl_seconds) if m.ttl_seconds else None,
        generation=m.generation,
        features=tuple(
            Feature(f.name, f.type, f.aggregate, f.field, f.window, f.description, f.expression)
            for f in m.features
        ),
        request=tuple(RequestField(r.name, r.type) for r in m.request),
    )


def model_of(m: inference_service_pb2.Model) -> Model:
    """Make a model of its message."""
    return Model(
        m.name,
        m.version,
        m.default,
        m.problem,
        m.sha256,
        tuple(m.columns),
        m.candidates,
        tuple(m.caches_off),
    )
