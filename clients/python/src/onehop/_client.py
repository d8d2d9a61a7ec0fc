"""The client."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Optional, overload

import pyarrow as pa

from onehop import _errors, _spine, _types, _values
from onehop._channel import TLS, bearer, call, connect
from onehop._training import Progress, Resume, TrainingStream
from onehop.v1 import feature_service_pb2 as features_pb
from onehop.v1 import inference_service_pb2 as inference_pb
from onehop.v1.feature_service_pb2_grpc import FeatureServiceStub
from onehop.v1.inference_service_pb2_grpc import InferenceServiceStub

if TYPE_CHECKING:
    import pandas as pd

Mode = Literal["event_time", "available"]
_DAY = 24 * 3600.0
_READ_TIME = b"onehop.read_time_us"
_VERSION = b"onehop.definitions_version"


class Client:
    """A client of Onehop's services; threads may share it.

    Calls end after their ``timeout``, in seconds: 10 if nothing else is said here or in the
    call, a day for training sets. What fails raises an :class:`onehop.Error`.
    """

    def __init__(
        self,
        features_url: str,
        inference_url: Optional[str] = None,
        *,
        token: Optional[str] = None,
        tls: Optional[TLS] = None,
        timeout: float = 10.0,
    ) -> None:
        """Connect when the first call is made.

        ``features_url`` is where FeatureService answers (``serve``), ``inference_url`` where
        InferenceService does (``infer``), each as ``http://host:port`` or ``https://host:port``.
        ``token`` is sent with each call as ``authorization: Bearer``, for what stands before the
        services; over ``http`` anybody on the way can read it.
        """
        self._metadata, self._timeout = bearer(token), timeout
        self._channels = [connect(features_url, tls)]
        self._features = FeatureServiceStub(self._channels[0])
        self._inference: InferenceServiceStub | None = None
        if inference_url is not None:
            self._channels.append(connect(inference_url, tls))
            self._inference = InferenceServiceStub(self._channels[1])

    def close(self) -> None:
        """End the calls under way and close the connections. It may be called twice."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @overload
    def training_set(
        self,
        spine: pd.DataFrame,
        *,
        features: Optional[Sequence[str]] = ...,
        service: Optional[str] = ...,
        mode: Mode = ...,
        time_column: str = ...,
        statuses: bool = ...,
        event_times: bool = ...,
        progress: Optional[Progress] = ...,
        part_bytes: int = ...,
        resume: Resume = ...,
        timeout: float = ...,
    ) -> pd.DataFrame: ...

    @overload
    def training_set(
        self,
        spine: pa.Table | pa.RecordBatch | pa.RecordBatchReader | str | os.PathLike[str] | _spine.Query,
        *,
        features: Optional[Sequence[str]] = ...,
        service: Optional[str] = ...,
        mode: Mode = ...,
        time_column: str = ...,
        statuses: bool = ...,
        event_times: bool = ...,
        progress: Optional[Progress] = ...,
        part_bytes: int = ...,
        resume: Resume = ...,
        timeout: float = ...,
    ) -> pa.Table: ...

    def training_set(self, spine: Any, **options: Any) -> Any:
        """Join features to a spine, each as it was at its row's time.

        It takes what :meth:`training_set_batches` takes and returns all rows at once, in the
        spine's order: a ``pyarrow.Table``, or, for a pandas DataFrame, a DataFrame with the
        spine's own columns and index and the features beside them, where integers and booleans
        are of pandas's types that can be missing.
        """
        table = self.training_set_batches(spine, **options).read_all()
        if not _spine.is_frame(spine):
            return table
        import pandas as pd  # noqa: PLC0415 (it is there when a DataFrame is)

        added = table.select(table.column_names[len(spine.columns) :])
        nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        frame = added.replace_schema_metadata(None).to_pandas(types_mapper=nullable.get)
        frame.index = spine.index
        return pd.concat([spine, frame], axis=1)

    def training_set_batches(
        self,
        spine: _spine.Spine,
        *,
        features: Optional[Sequence[str]] = None,
        service: Optional[str] = None,
        mode: Mode = "event_time",
        time_column: str = "event_time",
        statuses: bool = False,
        event_times: bool = False,
        progress: Optional[Progress] = None,
        part_bytes: int = 32 << 20,
        resume: Resume = Resume(),  # noqa: B008 (it is frozen)
        timeout: float = _DAY,
    ) -> pa.RecordBatchReader:
        """Join features to a spine, batch by batch, in memory that does not grow with its rows.

        :param spine: rows with a column for each join key, named like it, a column of times and
            any others, which come back as they are: a pyarrow Table, RecordBatch or
            RecordBatchReader, a pandas DataFrame, the path of a file (``.csv``, which is read
            whole; ``.parquet``, ``.pq``, ``.arrow``, ``.feather``, ``.arrows``) or a
            :class:`onehop.Query`.
        :param features: names, ``"view.feature"`` or ``"view.*"``; or give
        :param service: the name of a feature service.
        :param mode: ``"available"`` counts only events that had arrived at each row's time.
        :param time_column: its name; timestamps with a zone, or text in RFC 3339.
        :param statuses: add a column ``view.feature.status`` for each feature.
        :param event_times: add a column ``view.feature.event_time`` for each feature.
        :param progress: is called with the rows that came and how many there are, None where
            that is not known.
        :param part_bytes: how much of the spine goes in one request, in bytes of Arrow.
        :param resume: how long to go on trying after a connection broke.
        :param timeout: for all of it, the caller's time between batches included.

        The reader's schema metadata has the version of the definitions
        (``onehop.definitions_version``). A call under way ends when the reader is dropped.
        """
        if mode not in ("event_time", "available"):
            raise _errors.InvalidArgument(f'mode is {mode!r}: it is "event_time" or "available"')
        if not 0 < part_bytes <= _spine.MAX_PART:
            raise _errors.InvalidArgument(f"part_bytes is {part_bytes}: it is from 1 to {_spine.MAX_PART}")
        request = features_pb.GetTrainingSetRequest(
            feature_service=service or "",
            features=_names(features),
            time_column=time_column,
            available=mode == "available",
            statuses=statuses,
            event_times=event_times,
        )
        total: int | None = None
        if isinstance(spine, _spine.Query):
            parts = iter([_spine.Part(sql=spine.sql, resumable=spine.ordered)])
        else:
            rows, total = _spine.open_rows(spine, time_column, self._key_types)
            parts = _spine.parts(rows, time_column, part_bytes)
        stream = TrainingStream(self._features, request, self._metadata, timeout, resume)
        batches = stream.batches(parts, progress, total)
        first = list(itertools.islice(batches, 1))  # by then the schema is known
        if stream.schema is None:
            raise _errors.Internal("the answer had no schema")
        schema = _described(stream.schema, {_VERSION: stream.version})
        return pa.RecordBatchReader.from_batches(schema, itertools.chain(first, batches))

    def _key_types(self) -> dict[str, str]:
        """Return the types of all join keys and request fields whose name has one."""
        types: dict[str, str] = {}
        twice: set[str] = set()
        for view in self.feature_views():
            for name, t in (*view.join_keys, *view.request):
                if types.setdefault(name, t) != t:
                    twice.add(name)
        return {name: t for name, t in types.items() if name not in twice}

    def online_features(
        self,
        entities: Mapping[str, Any],
        *,
        features: Optional[Sequence[str]] = None,
        service: Optional[str] = None,
        request: Optional[Mapping[str, Any]] = None,
        allow_stale: bool = False,
        statuses: bool = False,
        event_times: bool = False,
        timeout: Optional[float] = None,
    ) -> pa.Table:
        """Read features as of now: a row for each entity, join keys and request fields first.

        ``entities`` has for each join key as many values as there are rows, or one for all:
        ``{"user_id": [1, 2]}``. ``features``, ``service``, ``statuses`` and ``event_times`` are
        as in :meth:`training_set_batches`. ``request`` has the request fields from which on-demand
        features are computed: as many values as there are rows, or one for all:
        ``{"hour_of_day": 22.0}``; in a training set they are columns of the spine.
        ``allow_stale`` answers from a store that is being
        refilled, too, instead of raising :class:`onehop.Unavailable`.

        :func:`onehop.read_time` is the time of the read. An entity with a newer event, by a clock
        that was ahead, is read just after that.
        """
        keys = _values.to_arrays("entities", entities)
        fields = _values.to_arrays("request", request or {})
        message = features_pb.GetOnlineFeaturesRequest(
            feature_service=service or "",
            features=_names(features),
            entities=_values.to_values("entities", keys),
            request=_values.to_values("request", fields),
            allow_stale=allow_stale,
        )
        answer = call(self._features.GetOnlineFeatures, message, self._seconds(timeout), self._metadata)
        names, arrays = _values.from_columns(answer.columns, statuses, event_times, self._type_of)
        for name, array in reversed([*keys.items(), *fields.items()]):
            names.insert(0, name)
            arrays.insert(0, array if len(array) == answer.rows else pa.repeat(array[0], answer.rows))
        table = pa.table(arrays, names=names)
        about = {_READ_TIME: answer.read_time_us, _VERSION: answer.definitions_version}
        return table.replace_schema_metadata(_described(table.schema, about).metadata)

    def _type_of(self, feature: str) -> str:
        view, _, name = feature.partition(".")
        for f in self.feature_view(view).features:
            if f.name == name:
                return f.type
        raise _errors.Aborted(f"{feature} was in an answer and is not defined now: ask again")

    def push(
        self, source: str, events: Iterable[Mapping[str, Any] | str], *, timeout: Optional[float] = None
    ) -> list[_types.Position]:
        """Write events to a source's topic and return where they are, when Kafka has them.

        Events are dictionaries or texts of JSON, at most 10,000 in a call; if one is not
        acceptable, none is written. A push is not tried again by itself: one whose connection
        broke may have been written.
        """
        texts = [_event(i, event) for i, event in enumerate(events)]
        request = features_pb.PushEventsRequest(source=source, events=texts)
        answer = call(self._features.PushEvents, request, self._seconds(timeout), self._metadata)
        return [_types.Position(p.partition, p.offset) for p in answer.positions]

    def feature_views(self, *, timeout: Optional[float] = None) -> list[_types.FeatureView]:
        """List the feature views."""
        request = features_pb.ListFeatureViewsRequest()
        answer = call(self._features.ListFeatureViews, request, self._seconds(timeout), self._metadata)
        return [_types.view_of(v) for v in answer.views]

    def feature_view(self, name: str, *, timeout: Optional[float] = None) -> _types.FeatureView:
        """Describe a feature view."""
        request = features_pb.GetFeatureViewRequest(name=name)
        answer = call(self._features.GetFeatureView, request, self._seconds(timeout), self._metadata)
        return _types.view_of(answer.view)

    def statistics(
        self,
        *,
        features: Optional[Sequence[str]] = None,
        service: Optional[str] = None,
        days: int = 1,
        sample: int = 1000,
        timeout: Optional[float] = None,
    ) -> pa.Table:
        """Say what the values of features are like, day by day, for a sample of entities.

        A row for each feature and time, the ends of so many days in UTC, of which the last is now:
        ``feature``, ``time``, ``rows``, ``nulls``, ``distinct``, of numbers ``mean``, ``deviation``,
        ``min``, ``max`` and the quantiles ``p1``, ``p25``, ``p50``, ``p75``, ``p99``; and ``psi``, how
        far the values of now have drifted from the baseline of the service, where it has one.
        """
        request = features_pb.GetFeatureStatisticsRequest(
            feature_service=service or "", features=_names(features), days=days, sample=sample
        )
        answer = call(self._features.GetFeatureStatistics, request, self._seconds(timeout), self._metadata)
        return _values.from_statistics(answer.statistics)

    def get_features_and_predict(
        self,
        model: str,
        *,
        candidates: Mapping[str, Any],
        entities: Optional[Mapping[str, Any]] = None,
        request: Optional[Mapping[str, Any]] = None,
        version: int = 0,
        alias: str = "",
        top_k: int = 0,
        return_features: bool = False,
        allow_stale: bool = False,
        priority: str = "normal",
        fail_on_missing: bool = False,
        read_timeout: Optional[float] = None,
        max_staleness: float = 0,
        no_cache: bool = False,
        provenance: bool = False,
        timeout: Optional[float] = None,
    ) -> _types.Ranking:
        """Read the features of entities and candidates, and score the candidates, in one hop.

        :param candidates: their join keys, as many values each as there are candidates.
        :param entities: the join keys of the shared entities, one value each.
        :param request: the model's request fields, one value each, or one for each candidate.
        :param version: of the model; 0 for the one that its traffic gives.
        :param alias: a name of a version, instead of its number.
        :param top_k: return only the best so many; 0 for all.
        :param return_features: add the columns that went into the model.
        :param allow_stale: as in :meth:`online_features`.
        :param priority: ``"low"``, ``"normal"`` or ``"high"``: who goes first where requests wait.
        :param fail_on_missing: fail where a value is missing, though the model has a default.
        :param read_timeout: the most seconds that reading features may take.
        :param max_staleness: when Redis does not answer, take copies of rows up to so many seconds old.
        :param no_cache: answer from what is read and computed now, and from no cache.
        :param provenance: say up to which events the rows are folded.
        """
        if priority not in _PRIORITIES:
            raise _errors.InvalidArgument(f"priority is {priority!r}: give one of {', '.join(_PRIORITIES)}")
        message = inference_pb.GetFeaturesAndPredictRequest(
            model=model,
            version=version,
            alias=alias,
            entities=_messages("entities", entities),
            candidates=_messages("candidates", candidates),
            request=_messages("request", request),
            top_k=top_k,
            return_features=return_features,
            allow_stale=allow_stale,
            priority=_PRIORITIES[priority],
            fail_on_missing=fail_on_missing,
            read_timeout_ms=_milliseconds("read_timeout", read_timeout or 0),
            max_staleness_ms=_milliseconds("max_staleness", max_staleness),
            no_cache=no_cache,
            provenance=provenance,
        )
        answer = call(self._models().GetFeaturesAndPredict, message, self._seconds(timeout), self._metadata)
        columns = _values.from_messages(answer.candidates)
        columns["index"] = pa.array(answer.indexes, pa.int64())
        columns["score"] = pa.array(answer.scores, pa.float32())
        names, arrays = _values.from_columns(answer.features, False, False, self._type_of)
        columns.update(zip(names, arrays))
        return _types.Ranking(
            model=answer.model,
            version=answer.model_version,
            table=pa.table(columns),
            read_time=_types.moment(answer.read_time_us),
            freshness=timedelta(microseconds=answer.freshness_us),
            status_counts=dict(answer.status_counts),
            read=timedelta(microseconds=answer.timings.read_us),
            assemble=timedelta(microseconds=answer.timings.assemble_us),
            run=timedelta(microseconds=answer.timings.run_us),
            wait=timedelta(microseconds=answer.timings.wait_us),
            staleness=timedelta(microseconds=answer.staleness_us),
            variant=answer.variant,
            cached=answer.cached,
            provenance=tuple(
                _types.Provenance(
                    p.view, p.bucket, {(w.topic_id, w.partition): w.next_offset for w in p.watermarks}
                )
                for p in answer.provenance
            ),
        )

    def predict(
        self,
        model: str,
        columns: Mapping[str, Any],
        *,
        version: int = 0,
        alias: str = "",
        timeout: Optional[float] = None,
    ) -> _types.Scores:
        """Score rows whose features the caller brings.

        ``columns`` has for each column of the model (``"view.feature"``, ``"request.field"``) a
        value for each row, or one for all; a column that is left out takes the model's default.
        """
        message = inference_pb.PredictRequest(
            model=model, version=version, alias=alias, columns=_messages("columns", columns)
        )
        answer = call(self._models().Predict, message, self._seconds(timeout), self._metadata)
        return _types.Scores(answer.model, answer.model_version, tuple(answer.scores))

    def models(self, *, timeout: Optional[float] = None) -> list[_types.Model]:
        """List the models that are loaded."""
        request = inference_pb.ListModelsRequest()
        answer = call(self._models().ListModels, request, self._seconds(timeout), self._metadata)
        return [_types.model_of(m) for m in answer.models]

    def _models(self) -> InferenceServiceStub:
        if self._inference is None:
            raise _errors.InvalidArgument(
                "the client was made without inference_url: give the address of infer"
            )
        return self._inference

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout


_PRIORITIES = {
    "low": inference_pb.PRIORITY_LOW,
    "normal": inference_pb.PRIORITY_UNSPECIFIED,
    "high": inference_pb.PRIORITY_HIGH,
}


def _milliseconds(name: str, seconds: float) -> int:
    if not 0 <= seconds < 1e6:
        raise _errors.InvalidArgument(f"{name} is {seconds}: give seconds, from 0 on")
    return math.ceil(seconds * 1000)


def _names(features: Sequence[str] | None) -> list[str]:
    if isinstance(features, str):
        raise _errors.InvalidArgument(f"features is the text {features!r}: give a list, as [{features!r}]")
    return list(features or ())


def _messages(where: str, columns: Mapping[str, Any] | None) -> dict[str, Any]:
    return _values.to_values(where, _values.to_arrays(where, columns or {}))


def _event(i: int, event: Mapping[str, Any] | str) -> str:
    if isinstance(event, str):
        return event
    try:
        return json.dumps(event, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _errors.InvalidArgument(f"events[{i}]: {error}: an event is what JSON can hold") from None


def read_time(table: pa.Table) -> datetime:
    """Return the time as of which :meth:`Client.online_features` read a table."""
    metadata = table.schema.metadata or {}
    if _READ_TIME not in metadata:
        raise _errors.InvalidArgument(
            "the table is not what online_features returned: it lacks the time of the read"
        )
    return _types.moment(int(metadata[_READ_TIME]))


def _described(schema: pa.Schema, about: Mapping[bytes, int]) -> pa.Schema:
    metadata = {**(schema.metadata or {}), **{k: str(v).encode() for k, v in about.items()}}
    return schema.with_metadata(metadata)
