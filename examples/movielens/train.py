"""Train the example's movie ranker and write it as a version of the model repository."""

import json
import pathlib

import numpy as np

import dataset
import evaluate
import export
import mlp

PARTS = ("train", "validate", "test")
HIDDEN = (64, 32)  # widths of the hidden layers


def write_version(table, out, epochs=60, seed=1):
    """Train on a dataset.Table, at most so many passes over the data, and write model.onnx, model.yaml and metrics.json.

    out is the directory of the new version, as models/movie_ranker/1. The rows are split by time: 80 % train, 10 % choose
    the pass at which to stop, 10 % test. The model takes raw features: defaults are applied by who calls it, as model.yaml
    says, and standardising is part of the graph. Returned is what metrics.json says.
    """
    out = pathlib.Path(out)
    parts = dict(zip(PARTS, dataset.split_by_time(table)))
    defaults = dataset.defaults(parts["train"])
    x = {part: dataset.fill(rows.features, defaults) for part, rows in parts.items()}
    scaling = mlp.Scaling.of(x["train"])
    network, passes = mlp.train(
        scaling.apply(x["train"]), parts["train"].labels, scaling.apply(x["validate"]), parts["validate"].labels,
        hidden=HIDDEN, epochs=epochs, seed=seed,
    )

    model = export.to_onnx(network, scaling, len(table.columns))
    scores = network.scores(scaling.apply(x["test"]))
    test = parts["test"]
    others = {"popularity": evaluate.popularity(parts["train"], test)}
    mean_rating = evaluate.mean_rating(test)
    if mean_rating is not None:
        others["mean_rating"] = mean_rating
    known = np.unique(parts["train"].users)
    metrics = {
        "rows": {part: len(rows.labels) for part, rows in parts.items()},
        "positive": {part: round(float(rows.labels.mean()), 6) for part, rows in parts.items()},
        "columns": table.columns,
        "epochs": passes,
        "seed": seed,
        "test": {name: evaluate.report(given, test, known) for name, given in {"model": scores, **others}.items()},
        "gain": {name: evaluate.gain(scores, given, test) for name, given in others.items()},
        "onnx_bytes": len(model),
        "onnx_difference": export.check(model, x["test"], scores),
    }

    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(model)
    text = export.to_yaml(out.resolve().parent.name, table.columns, defaults, metrics)
    (out / "model.yaml").write_text(text, encoding="utf-8")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics
