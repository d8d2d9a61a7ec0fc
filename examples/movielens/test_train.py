"""python -m unittest, in this directory, with requirements.txt installed."""

import contextlib
import csv
import io
import json
import pathlib
import tempfile
import unittest

import numpy as np
import onnxruntime

import dataset
import evaluate
import export
import train

COLUMNS = ["user_ratings.mean_rating_30d", "user_ratings.count_7d", "movie_ratings.mean_rating_30d", "request.hour_of_day"]


def write_training_set(path, rows=6000, seed=0):
    """Labels follow the two mean ratings, not the movie's popularity; every tenth value is missing."""
    random = np.random.default_rng(seed)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", COLUMNS[0], "label", *COLUMNS[1:], "movie_id", "time"])
        for i in random.permutation(rows):
            user, movie = random.integers(1, 40), random.integers(1, 60)
            values = [random.normal(3.5, 0.7), random.poisson(20), random.normal(3.4, 0.6), random.integers(0, 24)]
            logit = 3 * (values[0] - 3.5) + 3 * (values[2] - 3.4)
            label = int(random.random() < 1 / (1 + np.exp(-logit)))
            fields = ["" if random.random() < 0.1 else f"{value:g}" for value in values]
            writer.writerow([user, fields[0], label, *fields[1:], movie, 1_700_000_000_000_000 + int(i) * 1_000_000])


class TrainTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.data = self.directory / "training.csv"

    def run_training(self, out):
        with contextlib.redirect_stdout(io.StringIO()):
            return train.main(["--data", str(self.data), "--out", str(out), "--epochs", "20"])

    def test_whole_run(self):
        write_training_set(self.data)
        out = self.directory / "models" / "movie_ranker" / "1"
        metrics = self.run_training(out)
        model, baseline = metrics["test"]["model"], metrics["test"]["popularity"]
        self.assertGreater(model["auc"], 0.8)
        self.assertLess(abs(baseline["auc"] - 0.5), 0.1)
        self.assertGreater(model["ndcg_at_10"], baseline["ndcg_at_10"] + 0.1)
        self.assertEqual(metrics["rows"], {"train": 4800, "validate": 600, "test": 600})
        self.assertEqual(json.loads((out / "metrics.json").read_text()), metrics)
        text = (out / "model.yaml").read_text()
        self.assertIn("model: movie_ranker\n", text)
        self.assertIn("{from: user_ratings.count_7d, default: 0.0}", text)
        self.assertEqual([line.split("from: ")[1].split(",")[0] for line in text.splitlines() if "from:" in line], COLUMNS)
        session = onnxruntime.InferenceSession(out / "model.onnx")
        low, high = session.run(["scores"], {"features": np.array([[2, 20, 2, 1], [5, 20, 5, 1]], np.float32)})[0][:, 0]
        self.assertLess(low, 0.2)
        self.assertGreater(high, 0.8)

    def test_same_seed_same_model(self):
        write_training_set(self.data, rows=600)
        self.run_training(self.directory / "a" / "1")
        self.run_training(self.directory / "b" / "1")
        first, second = ((self.directory / name / "1" / "model.onnx").read_bytes() for name in "ab")
        self.assertEqual(first, second)

    def test_json_lines_read_alike(self):
        write_training_set(self.data, rows=100)
        lines = self.directory / "training.jsonl"
        with open(self.data, newline="", encoding="utf-8") as file, open(lines, "w", encoding="utf-8") as to:
            for row in csv.DictReader(file):
                to.write(json.dumps({name: float(value) if value else None for name, value in row.items()}) + "\n")
        a, b = dataset.read(self.data), dataset.read(lines)
        np.testing.assert_array_equal(a.features, b.features)
        np.testing.assert_array_equal(a.times, b.times)
        self.assertEqual(a.columns, b.columns)

    def test_mistakes_are_named(self):
        head = "label,user_id,movie_id,time,a.b\n"
        rows = "".join(f"{i % 2},1,1,{i},{i}\n" for i in range(40))
        for text, want in [
            ("label,user_id,time,a.b\n", "movie_id"),
            (head.replace("a.b", "ab") + rows, "view.feature"),
            (head + rows + "1,1,1,5,many\n", "row 41: a.b is 'many'"),
            (head + rows + "1,1,1,5,nan\n", "finite"),
            (head + rows + "2,1,1,5,1\n", "0 or 1"),
            (head + rows + "1,x,1,5,1\n", "user_id is 'x'"),
            (head + "1,1,1,1,1\n", "too few"),
            (head + "1,1,1,7,1\n" * 40, "only one label"),
        ]:
            self.data.write_text(text)
            with self.assertRaises(dataset.Mistake) as caught:
                dataset.split_by_time(dataset.read(self.data))
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
