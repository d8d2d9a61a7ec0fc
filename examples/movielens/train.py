"""Train the example's movie rankers and write each as a version of the model repository."""

import json
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import dataset
import evaluate
import export
import gbt
import mlp

PARTS = ("train", "validate", "test")
HIDDEN = (64, 32)  # widths of the hidden layers


@dataclass
class Learned:
    onnx: bytes  # raw features in: standardising is part of the graph
    predict: Callable  # float32 [rows, columns] to scores [rows], as computed by what trained it
    size: dict  # how long it was trained


def network(x, labels, x_validate, labels_validate, most, seed):
    """Train a perceptron, at most so many passes over the data."""
    scaling = mlp.Scaling.of(x)
    found, passes = mlp.train(
        scaling.apply(x), labels, scaling.apply(x_validate), labels_validate, hidden=HIDDEN, epochs=most, seed=seed
    )
    return Learned(
        export.network_to_onnx(found, scaling, x.shape[1]), lambda x: found.scores(scaling.apply(x)), {"epochs": passes}
    )


def trees(x, labels, x_validate, labels_validate, most, seed):
    """Boost trees, at most so many."""
    booster = gbt.train(x, labels, x_validate, labels_validate, most, seed)
    return Learned(export.trees_to_onnx(booster, x.shape[1]), booster.predict, {"trees": booster.best_iteration})


# The models of the example: how each is trained, and the most epochs or trees.
MODELS = {"movie_ranker": (network, 60), "movie_ranker_gbt": (trees, 400)}


def write_version(table, out, most=None, seed=1):
    """Train a model on a dataset.Table and write model.onnx, model.yaml, metrics.json and examples.json.

    out is the directory of the new version, as models/movie_ranker/1: its model is one of MODELS. The rows are split by time:
    80 % train, 10 % choose when to stop, 10 % test. The model takes raw features: defaults are applied by who calls it, as
    model.yaml says. examples.json has invented rows and their scores. Returned is what metrics.json says.
    """
    out = pathlib.Path(out)
    name = out.resolve().parent.name
    learn, usual = MODELS[name]
    parts = dict(zip(PARTS, dataset.split_by_time(table)))
    defaults = dataset.defaults(parts["train"])
    x = {part: dataset.fill(rows.features, defaults) for part, rows in parts.items()}
    learned = learn(x["train"], parts["train"].labels, x["validate"], parts["validate"].labels, most or usual, seed)

    model = learned.onnx
    scores = learned.predict(x["test"])
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
        **learned.size,
        "seed": seed,
        "test": {name: evaluate.report(given, test, known) for name, given in {"model": scores, **others}.items()},
        "gain": {name: evaluate.gain(scores, given, test) for name, given in others.items()},
        "onnx_bytes": len(model),
        "onnx_difference": export.check(model, x["test"], scores),
    }

    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(model)
    text = export.to_yaml(name, table.columns, defaults, metrics)
    (out / "model.yaml").write_text(text, encoding="utf-8")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    examples = export.examples(x["train"], learned.predict)
    (out / "examples.json").write_text(json.dumps(examples) + "\n", encoding="utf-8")
    return metrics
