"""Trains a small model, writes what MLServer needs to serve it, and prints rows with their scores as JSON."""

import json
import pathlib
import sys

import joblib
import numpy
from sklearn.ensemble import GradientBoostingRegressor

folder = pathlib.Path(sys.argv[1])
random = numpy.random.default_rng(7)
rows = random.normal(size=(300, 4)).astype(numpy.float32)
model = GradientBoostingRegressor(n_estimators=20, random_state=7)
model.fit(rows, rows @ [1, -2, 3, 0.5] + numpy.abs(rows[:, 0]))
joblib.dump(model, folder / "model.joblib")
settings = {
    "name": "ranker",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "parameters": {"uri": "./model.joblib", "version": "3"},
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "predict", "datatype": "FP64", "shape": [-1, 1]}],
}
(folder / "model-settings.json").write_text(json.dumps(settings))
json.dump({"rows": rows.flatten().tolist(), "scores": model.predict(rows).tolist()}, sys.stdout)
