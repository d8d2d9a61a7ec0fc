#!/usr/bin/env python3
"""Train the example's movie ranker from a training set and write it as a version of the model repository.

    python train.py --data training.csv --out models/movie_ranker/1

The training set is CSV or JSON lines (by the file's ending, .csv or .jsonl). Its columns are `label` (0 or 1), `user_id`,
`movie_id`, `time` (microseconds) and the model's inputs, named "view.feature" or "request.field". An empty field is a missing
value. The rows are split by time: 80 % train, 10 % validate, 10 % test.

Written are model.onnx (raw features in, scores out: defaults are applied by the caller, standardising is part of the graph),
model.yaml (the columns in the file's order) and metrics.json.
"""

import argparse
import json
import pathlib
import sys

import dataset
import evaluate
import export
import mlp


def main(arguments=None):
    options = parse_arguments(arguments)
    table = dataset.read(options.data)
    train, validate, test = dataset.split_by_time(table)

    defaults = dataset.defaults(train)
    x = {part: dataset.fill(rows.features, defaults) for part, rows in zip(PARTS, (train, validate, test))}
    scaling = mlp.Scaling.of(x["train"])
    network, epochs = mlp.train(
        scaling.apply(x["train"]), train.labels, scaling.apply(x["validate"]), validate.labels,
        hidden=options.hidden, epochs=options.epochs, seed=options.seed,
    )

    model = export.to_onnx(network, scaling, len(table.columns))
    scores = network.scores(scaling.apply(x["test"]))
    difference = export.check(model, x["test"], scores)

    popularity = evaluate.popularity(train, test)
    metrics = {
        "rows": {part: len(rows.labels) for part, rows in zip(PARTS, (train, validate, test))},
        "positive": {part: round(float(rows.labels.mean()), 6) for part, rows in zip(PARTS, (train, validate, test))},
        "columns": table.columns,
        "epochs": epochs,
        "seed": options.seed,
        "test": {
            "model": evaluate.report(scores, test),
            "popularity": evaluate.report(popularity, test),
        },
        "onnx_bytes": len(model),
        "onnx_difference": difference,
    }
    mean_rating = evaluate.mean_rating(test)
    if mean_rating is not None:
        metrics["test"]["mean_rating"] = evaluate.report(mean_rating, test)
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(model)
    (out / "model.yaml").write_text(export.to_yaml(options.model, table.columns, defaults, metrics), encoding="utf-8")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for name, report in metrics["test"].items():
        print(f"{name:11}  AUC {report['auc']:.4f}  NDCG@10 {report['ndcg_at_10']:.4f}  ({report['users']} users)")
    print(f"wrote {out}: {len(model)} bytes, {epochs} epochs")
    return metrics


PARTS = ("train", "validate", "test")


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="the training set, .csv or .jsonl")
    parser.add_argument("--out", required=True, help="directory of the new version, as models/movie_ranker/1")
    parser.add_argument("--model", help="the model's name; default: the name of the directory above --out")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 32], help="widths of the hidden layers")
    parser.add_argument("--epochs", type=int, default=60, help="most passes over the data; it stops early")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.model is None:
        options.model = pathlib.Path(options.out).resolve().parent.name
    return options


if __name__ == "__main__":
    try:
        main()
    except dataset.Mistake as mistake:
        sys.exit(f"train.py: {mistake}")
