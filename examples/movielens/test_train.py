"""python -m unittest, in this directory, with requirements.txt installed."""

import json
import pathlib
import tempfile
import unittest

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa

import dataset
import evaluate
import export
import train

FEATURES = ["user_ratings.mean_rating_30d", "user_ratings.count_7d", "movie_ratings.mean_rating_30d"]
REQUEST = ("hour_of_day",)


def training_set(rows=6000, seed=0):
    """Labels follow the two mean ratings, not the movie's popularity; every tenth value is missing."""
    random = np.random.default_rng(seed)
    mine, count, others = random.normal(3.5, 0.7, rows), random.poisson(20, rows), random.normal(3.4, 0.6, rows)
    likes = random.random(rows) < 1 / (1 + np.exp(-3 * (mine - 3.5) - 3 * (others - 3.4)))
    table = pa.table({
        "user_id": random.integers(1, 40, rows),
        FEATURES[0]: pa.array(mine, mask=random.random(rows) < 0.1),
        "label": likes.astype(int),
        FEATURES[1]: pa.array(count, mask=random.random(rows) < 0.1),
        FEATURES[2]: pa.array(others, mask=random.random(rows) < 0.1),
        "hour_of_day": random.integers(0, 24, rows),
        "movie_id": random.integers(1, 60, rows),
        "event_time": pa.array(1_700_000_000_000_000 + np.arange(rows) * 1_000_000, pa.timestamp("us", "UTC")),
    })
    return table.take(random.permutation(rows))


class TrainTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)

    def write(self, name, model, rows, most=20):
        out = self.directory / name / model / "1"
        return out, train.write_version(dataset.of(training_set(rows), REQUEST), out, most)

    def test_whole_run(self):
        for name, most, size in [("movie_ranker", 20, "epochs"), ("movie_ranker_gbt", 100, "trees")]:
            with self.subTest(name):
                out, metrics = self.write("models", name, 6000, most)
                self.assertTrue(0 < metrics[size] <= most)
                self.check_version(name, out, metrics)

    def check_version(self, name, out, metrics):
        model, baseline = metrics["test"]["model"], metrics["test"]["popularity"]
        self.assertGreater(model["auc"], 0.8)
        self.assertLess(abs(baseline["auc"] - 0.5), 0.1)
        self.assertGreater(model["ndcg_at_10"], baseline["ndcg_at_10"] + 0.1)
        self.assertGreater(metrics["gain"]["popularity"]["low"], 0)
        self.assertEqual(metrics["rows"], {"train": 4800, "validate": 600, "test": 600})
        self.assertEqual(json.loads((out / "metrics.json").read_text()), metrics)
        text = (out / "model.yaml").read_text()
        self.assertIn(f"model: {name}\n", text)
        self.assertIn("{from: user_ratings.count_7d, default: 0.0}", text)
        columns = [line.split("from: ")[1].split(",")[0] for line in text.splitlines() if "from:" in line]
        self.assertEqual(columns, [*FEATURES, "request.hour_of_day"])
        session = onnxruntime.InferenceSession(out / "model.onnx")
        low, high = session.run(["scores"], {"features": np.array([[2, 20, 2, 1], [5, 20, 5, 1]], np.float32)})[0][:, 0]
        self.assertLess(low, 0.2)
        self.assertGreater(high, 0.8)
        examples = json.loads((out / "examples.json").read_text())
        served = session.run(["scores"], {"features": np.array(examples["features"], np.float32)})[0][:, 0]
        np.testing.assert_allclose(served, examples["scores"], rtol=0, atol=1e-5)
        self.assertGreater(np.ptp(served), 0.1)

    def test_same_seed_same_model(self):
        for model in train.MODELS:
            first, second = ((self.write(name, model, 600)[0] / "model.onnx").read_bytes() for name in "ab")
            self.assertEqual(first, second)
            opsets = [opset.domain for opset in onnx.load_model_from_string(first).opset_import]
            self.assertEqual(opsets, sorted(opsets))  # nor does it depend on the order of a set

    def test_mistakes_are_named(self):
        table = training_set(60)

        def with_column(name, values):
            return table.set_column(table.column_names.index(name), name, pa.array(values))

        for broken, want in [
            (table.drop_columns(["movie_id", "hour_of_day"]), "columns hour_of_day, movie_id are missing"),
            (table.drop_columns(FEATURES), "60 rows of 0 features"),
            (table.slice(0, 20), "too few"),
            (with_column("label", [2] * 60), "0 or 1"),
            (with_column(FEATURES[0], ["x"] * 60), f"column {FEATURES[0]} is string"),
            (with_column("label", [1] * 60), "only one label"),
        ]:
            with self.assertRaises(dataset.Mistake) as caught:
                dataset.split_by_time(dataset.of(broken, REQUEST))
            self.assertIn(want, str(caught.exception))


class PartsTest(unittest.TestCase):
    def test_auc(self):
        labels = np.array([0, 1, 0, 1])
        self.assertEqual(evaluate.auc(np.array([1, 2, 3, 4]), labels), 0.75)
        self.assertEqual(evaluate.auc(np.zeros(4), labels), 0.5)

    def test_ndcg(self):
        labels = np.array([1, 0, 0])
        self.assertAlmostEqual(evaluate.ndcg(np.array([3, 2, 1]), labels, 10), 1)
        self.assertAlmostEqual(evaluate.ndcg(np.array([1, 2, 3]), labels, 10), 0.5)
        self.assertAlmostEqual(evaluate.ndcg(np.array([1, 2, 3]), labels, 2), 0)
        ties = (1 + 1 / np.log2(3) + 1 / np.log2(4)) / 3
        self.assertAlmostEqual(evaluate.ndcg(np.zeros(3), labels, 10), ties)
        score, users = evaluate.ndcg_by_user(np.array([1, 2, 3.0]), np.array([1, 0, 1.0]), np.array([7, 7, 8]), 10)
        self.assertEqual(users, 1)  # the other has one label only
        self.assertAlmostEqual(score, 1 / np.log2(3))

    def test_rows_of_one_time_stay_together(self):
        times = np.repeat(np.arange(10), 10)
        labels = np.tile([0.0, 1.0], 50)
        table = dataset.Table(["a.b"], np.zeros((100, 1)), labels, times, times, times)
        parts = dataset.split_by_time(table)
        self.assertEqual([len(part.times) for part in parts], [80, 10, 10])

    def test_yaml_numbers_survive(self):
        for value in (0.0, -1.5, 1e-07, 1e22, 3.40282e38):
            text = export.plain(value)
            self.assertEqual(float(text), value)
            self.assertIn(".", text)


if __name__ == "__main__":
    unittest.main()
