"""Training sets: the stream of one, and how it goes on when it breaks off."""

from __future__ import annotations

import io
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, Optional

import grpc
import pyarrow as pa
import pyarrow.ipc

from onehop import _errors
from onehop._channel import Metadata
from onehop._spine import Part
from onehop.v1 import feature_service_pb2 as pb
from onehop.v1.feature_service_pb2_grpc import FeatureServiceStub

Progress = Callable[[int, Optional[int]], None]


@dataclass(frozen=True)
class Resume:
    """How long a training set that broke off is tried to go on.

    It ends with the error of the last attempt after ``attempts`` in a row that brought no row,
    or ``seconds`` after the first of them failed.
    """

    attempts: int = 10
    seconds: float = 60.0


class _Pieces(io.RawIOBase):
    """The bytes of the messages of one answer, as a file."""

    def __init__(self, messages: Iterator[pb.GetTrainingSetResponse]) -> None:
        self.messages = messages
        self.first: pb.GetTrainingSetResponse | None = None
        self.rows = 0  # of the spine, that the service says are in what came
        self.rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def _next(self) -> bool:
        message = next(self.messages, None)
        if message is None:
            return False
        self.first = self.first or message
        self.rows, self.rest = message.rows, memoryview(message.arrow)
        return True

    def read(self, size: int = -1) -> bytes:
        """Read as much as is asked for, and less only at the end."""
        if len(self.rest) >= size >= 0:
            taken, self.rest = self.rest[:size], self.rest[size:]
            return bytes(taken)
        all_, wanted = bytearray(), size
        while wanted < 0 or len(all_) < wanted:
            if not self.rest and not self._next():
                break
            n = len(self.rest) if wanted < 0 else wanted - len(all_)
            all_ += self.rest[:n]
            self.rest = self.rest[n:]
        return bytes(all_)

    def drain(self) -> None:
        """Read what is left, so that the call's end is seen."""
        while self._next():
            pass


class TrainingStream:
    """One training set, from the parts of a spine. It is used once."""

    def __init__(
        self,
        stub: FeatureServiceStub,
        request: pb.GetTrainingSetRequest,
        metadata: Metadata,
        timeout: float,
        resume: Resume,
    ) -> None:
        self._stub, self._request, self._metadata = stub, request, metadata
        self._deadline = time.monotonic() + timeout
        self._timeout, self._resume = timeout, resume
        self.schema: pa.Schema | None = None  # known once the first answer began
        self.version = 0  # of the definitions

    def batches(
        self, parts: Iterator[Part], progress: Progress | None, total: int | None
    ) -> Iterator[pa.RecordBatch]:
        """Join part after part. Each row of the spine comes once, in order."""
        done = 0
        for part in parts:
            for batch in self._part(part):
                done += batch.num_rows
                if progress is not None:
                    progress(done, total)
                yield batch

    def _part(self, part: Part) -> Iterator[pa.RecordBatch]:
        done, failures, since = 0, 0, 0.0
        while True:
            try:
                for batch in self._answer(part, done):
                    done, failures = done + batch.num_rows, 0
                    yield batch
                return
            except grpc.RpcError as error:
                if failures == 0:
                    since = time.monotonic()
                failures += 1
                self._wait_or_raise(error, part, done, failures, since)

    def _wait_or_raise(
        self, error: grpc.RpcError, part: Part, done: int, failures: int, since: float
    ) -> None:
        if not self._may_go_on(error):
            raise _translate(error, part.first) from None
        if done and not part.resumable:
            more = (
                f"; row {done} was the last that came, and a query that is not ordered cannot go on after it"
            )
            raise _errors.from_rpc(error, more) from None
        pause = min(0.1 * 2 ** min(failures, 6), 5.0) * random.uniform(0.5, 1)
        now = time.monotonic()
        if failures >= self._resume.attempts or now + pause > min(
            since + self._resume.seconds, self._deadline
        ):
            more = f" (row {part.first + done} was the last that came; gave up after {failures} attempts)"
            raise _errors.from_rpc(error, more) from None
        time.sleep(pause)

    def _may_go_on(self, error: grpc.RpcError) -> bool:
        code = _errors.code_of(error)
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            # The service may not yet know that the caller of a broken stream is gone.
            return bool(self._request.history_token)
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED):
            return "RST_STREAM" in _errors.details_of(error)  # so gRPC reports a stream that was reset
        return code == grpc.StatusCode.UNAVAILABLE

    def _answer(self, part: Part, skip: int) -> Iterator[pa.RecordBatch]:
        """Make one call, and yield what it brings after the rows to skip."""
        request = pb.GetTrainingSetRequest()
        request.CopyFrom(self._request)
        request.skip_rows = skip
        if part.sql:
            request.sql = part.sql
        else:
            request.arrow = part.arrow
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _errors.DeadlineExceeded(f"the training set was not made within {self._timeout:g} s")
        call: Any = self._stub.GetTrainingSet(request, timeout=left, metadata=self._metadata)
        try:
            pieces = _Pieces(call)
            reader = pa.ipc.open_stream(pieces)
            self._check_first(pieces, reader.schema)
            rows = skip
            for batch in reader:
                rows += batch.num_rows
                if batch.num_rows:
                    yield batch
            pieces.drain()
            if rows != pieces.rows or (part.rows is not None and rows != part.rows):
                raise _errors.Internal(
                    f"the answer has {rows} rows and says {pieces.rows}; the spine had {part.rows}: "
                    "what is between client and service damages what it passes on"
                )
        except (pa.ArrowInvalid, OSError) as error:
            raise _errors.Internal(f"the answer is no Arrow stream: {error}") from None
        finally:
            call.cancel()

    def _check_first(self, pieces: _Pieces, schema: pa.Schema) -> None:
        """Keep what the first answer says of all, and hold the others to it."""
        first = pieces.first
        if first is None:
            raise _errors.Internal("the answer is empty")
        if self.schema is None:
            self.schema, self.version = schema, first.definitions_version
            self._request.history_token = first.history_token
            return
        if first.definitions_version != self.version or not schema.equals(self.schema):
            raise _errors.Aborted(
                f"definitions were version {self.version} when the training set was begun and are now "
                f"{first.definitions_version}: begin again"
            )


def _translate(error: grpc.RpcError, first: int) -> _errors.Error:
    """Make an error whose rows count over the whole spine, not over its part."""
    made = _errors.from_rpc(error)
    if first and isinstance(made, _errors.InvalidArgument):
        counted = re.sub(r"\brow (\d+),", lambda m: f"row {int(m[1]) + first},", made.message)
        return _errors.InvalidArgument(counted)
    return made
