// Package oip runs models that live elsewhere, on a server of the Open Inference Protocol, version 2, over gRPC: Triton, KServe,
// MLServer or OpenVINO. It is a runtime beside package onnx: it describes a model's inputs and outputs, and makes batches to run.
//
// A run is one call to one of the model's replicas. Each replica has a few connections and a circuit breaker; a failure that is not
// the request's is tried once more, within the deadline. What a server answers is checked before it is believed.
package oip
