"""Serves two models by Triton on ports of 127.0.0.1 until it is told to end: serve.py DIRECTORY HTTP_PORT GRPC_PORT."""

import os
import sys
import sysconfig
import time

import numpy
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def column(name, dtype):
    return Tensor(name=name, dtype=dtype, shape=(1,))


FEATURES = Tensor(name="features", dtype=numpy.float32, shape=(100,))
INPUTS = [
    FEATURES,
    column("age", numpy.int64),
    column("hour", numpy.int32),
    column("price", numpy.float64),
    column("half", numpy.float16),
    column("city", bytes),
]
SCORES = column("scores", numpy.float32)
OUTPUTS = [
    SCORES,
    column("exact", numpy.float64),
    column("halves", numpy.float16),
    column("ages", numpy.int64),
    column("hours", numpy.int32),
    column("together", numpy.int32),
]


@batch
def rank(features, age, hour, price, half, city):
    """Scores rows by all of their inputs, and says how many rows it was run on at once."""
    if numpy.isnan(features).any():
        raise ValueError("a feature is NaN")
    lengths = numpy.array([[len(text.decode())] for text in city[:, 0]])
    exact = features.astype(numpy.float64).sum(axis=1, keepdims=True) + age + 2 * hour + 4 * price + 8 * half + 16 * lengths
    together = numpy.full((len(features), 1), len(features), numpy.int32)
    return [exact.astype(numpy.float32), exact, half, age, hour, together]


@batch
def wait(features):
    """Takes as many seconds as the first feature says."""
    time.sleep(float(features[0, 0]))
    return [features[:, :1]]


directory, http, grpc = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# Triton's own process of Python must load the library of this Python, and not of another one.
os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
config = TritonConfig(
    http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc, allow_metrics=False, allow_gpu_metrics=False
)
with Triton(config=config, workspace=directory) as triton:
    batcher = DynamicBatcher(max_queue_delay_microseconds=100_000)
    triton.bind(
        "ranker", rank, INPUTS, OUTPUTS, model_version=3, config=ModelConfig(max_batch_size=64, batcher=batcher), strict=True
    )
    triton.bind("slow", wait, [FEATURES], [SCORES], config=ModelConfig(max_batch_size=64))
    triton.serve()
