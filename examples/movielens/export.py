"""Write a trained model as ONNX and as the model repository's model.yaml."""

import numpy as np
import onnx
import onnxmltools
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert.common.data_types import FloatTensorType

import mlp

MAX_BYTES = 1 << 20
INPUT, OUTPUT = "features", "scores"


def network_to_onnx(network, scaling, columns):
    """Return the model's bytes: float32 [rows, columns] of raw features in, [rows, 1] scores out."""
    constants = {
        "mean": scaling.mean,
        "deviation": scaling.deviation,
        "lowest": np.float32(-mlp.CLIP),
        "highest": np.float32(mlp.CLIP),
    }
    nodes = [
        helper.make_node("Sub", [INPUT, "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "lowest", "highest"], ["hidden0"]),
    ]
    for i, (weight, bias) in enumerate(zip(network.weights, network.biases)):
        last = i == len(network.weights) - 1
        constants[f"weight{i}"], constants[f"bias{i}"] = weight, bias
        nodes.append(helper.make_node("Gemm", [f"hidden{i}", f"weight{i}", f"bias{i}"], [f"sum{i}"]))
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"sum{i}"], [OUTPUT if last else f"hidden{i + 1}"]))
    graph = helper.make_graph(
        nodes,
        "ranker",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 1])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, producer_name="onehop-example", ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def trees_to_onnx(booster, columns):
    """Return the bytes of a booster for binary labels, with the same input and output."""
    model = onnxmltools.convert_lightgbm(
        booster, name="ranker", initial_types=[(INPUT, FloatTensorType(["rows", columns]))], zipmap=False, target_opset=15
    )
    # The converter's outputs are the label, and the chances of both labels: the score is that of label 1.
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "positive"))
    model.graph.node.append(helper.make_node("Gather", ["probabilities", "positive"], [OUTPUT], axis=1))
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)  # the converter has them in the order of a set
    del model.opset_import[:], model.graph.output[:]
    model.opset_import.extend(opsets)
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 1]))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def examples(features, predict, rows=20, seed=1):
    """Return rows that nobody rated, each value between the least and the greatest of its column, and what their scores are."""
    random = np.random.default_rng(seed)
    low, high = features.min(axis=0), features.max(axis=0)
    invented = (low + random.random((rows, features.shape[1])) * (high - low)).astype(np.float32)
    return {"features": invented.tolist(), "scores": np.asarray(predict(invented), np.float64).tolist()}


def check(model, features, scores):
    """Run the model as it will be served; return the greatest difference from the scores that its trainer's library computes."""
    if len(model) > MAX_BYTES:
        raise ValueError(f"the model has {len(model)} bytes, more than {MAX_BYTES}; train a smaller one")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    served = session.run([OUTPUT], {INPUT: features})[0][:, 0]
    difference = float(np.abs(served - scores).max())
    if not difference < 1e-5:
        raise ValueError(f"the ONNX model differs from the trained one by {difference}")
    return difference


def to_yaml(name, columns, defaults, metrics):
    """Return the text of model.yaml. The names were checked when the training set was read and need no quotes."""
    auc = metrics["test"]["model"]["auc"]
    lines = [
        f"model: {name}",
        f"description: Chance that the user likes the movie; AUC {auc:.4f} on the last tenth of the training set.",
        "inputs:",
        f"  - tensor: {INPUT}",
        "    columns:",
        *(f"      - {{from: {column}, default: {plain(value)}}}" for column, value in zip(columns, defaults)),
        f"output: {OUTPUT}",
    ]
    return "\n".join(lines) + "\n"


def plain(value):
    """Return the number as YAML reads it back exactly: 1e-07 would be text without a point."""
    text = repr(float(value))
    return text.replace("e", ".0e") if "e" in text and "." not in text else text
