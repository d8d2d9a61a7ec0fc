"""Joins a long spine batch by batch, and says its bytes and by how much memory grew."""

import resource
import sys

import pyarrow as pa

import onehop

BATCHES, ROWS = 60, 20_000
url, start = sys.argv[1], int(sys.argv[2])
schema = pa.schema(
    [("user_id", pa.int64()), ("event_time", pa.timestamp("us", "UTC")), ("note", pa.string())]
)
sent = []  # bytes of each batch


def batch(i):
    notes = pa.array([f"{i:0150}"] * ROWS)
    times = pa.array(range(start, start + ROWS), pa.int64()).cast(schema.field(1).type)
    made = pa.record_batch([pa.array([j % 20 for j in range(ROWS)]), times, notes], schema)
    sent.append(made.nbytes)
    return made


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def join(batches):
    reader = pa.RecordBatchReader.from_batches(schema, (batch(i) for i in range(batches)))
    with onehop.Client(url) as client:
        joined = client.training_set_batches(
            reader, features=["user_ratings.count_lifetime"], part_bytes=4 << 20
        )
        return sum(b.num_rows for b in joined)


assert join(4) == 4 * ROWS
before = peak()
sent.clear()
assert join(BATCHES) == BATCHES * ROWS
print(sum(sent), peak() - before)
