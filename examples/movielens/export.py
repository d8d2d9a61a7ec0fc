"""Write a trained network as ONNX and as the model repository's model.yaml."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import mlp

MAX_BYTES = 1 << 20
INPUT, OUTPUT = "features", "scores"


def to_onnx(network, scaling, columns):
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


def check(model, features, scores):
    """Run the model as it will be served; return the greatest difference from the trained network's scores."""
    if len(model) > MAX_BYTES:
        raise ValueError(f"the model has {len(model)} bytes, more than {MAX_BYTES}; use narrower layers")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    served = session.run([OUTPUT], {INPUT: features})[0][:, 0]
    difference = float(np.abs(served - scores).max())
    if not difference < 1e-4:
        raise ValueError(f"the ONNX model differs from the trained network by {difference}")
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
