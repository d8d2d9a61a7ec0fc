"""The whole circle of the example: events, training set, model, predictions.

A notebook as a program: run it whole by `make circle`, or cell by cell in an editor that knows `# %%`, beside an Onehop that
`onehop dev` started.
"""

# %% [markdown]
# # From ratings to recommendations
#
# Onehop runs; nothing is in it. Four things are given: its two addresses, the folder with past events, the model repository
# that infer watches, and the name of the model.

# %%
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

import dataset
import onehop
import train

parser = argparse.ArgumentParser(description="Goes the whole circle: events, training set, model, predictions.")
parser.add_argument("--serve", default=os.environ.get("ONEHOP_SERVE", "http://127.0.0.1:8081"), help="URL of serve")
parser.add_argument("--infer", default=os.environ.get("ONEHOP_INFER", "http://127.0.0.1:8082"), help="URL of infer")
parser.add_argument("--past", type=pathlib.Path, required=True, help="folder of ratings.csv, movies.csv and users.csv")
parser.add_argument("--models", type=pathlib.Path, required=True, help="model repository that infer watches")
parser.add_argument("--onehop", default="onehop", help="the onehop tool")
options = parser.parse_args()
MODEL = "movie_ranker"
TREES = "movie_ranker_gbt"  # the same features, another kind of model
client = onehop.Client(options.serve, options.infer, timeout=30)


def wait(what, is_so, seconds=60):
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            sys.exit(f"circle: after {seconds} s it is still not so that {what}")
        time.sleep(0.1)


# %% [markdown]
# ## 1. What happened before
#
# Past events become history with the times at which they happened. From now on new ones would come through Kafka.

# %%
for source in ("movies", "users", "ratings"):
    wait(
        f"the definitions of {source} are applied",
        lambda: any(view.source == source for view in client.feature_views()),
    )
    subprocess.run([options.onehop, "import", source, options.past / f"{source}.csv"], check=True)

# %% [markdown]
# ## 2. The question: a spine
#
# A row for each rating: who, which movie, when, and what we would like to know then: whether the stars were 4 or more. Beside it
# what a caller of the model will bring with a request.

# %%
ratings = pyarrow.csv.read_csv(
    options.past / "ratings.csv",
    convert_options=pyarrow.csv.ConvertOptions(
        include_columns=["user_id", "movie_id", "event_time", "rating"],
        column_types={"rating": pa.float64(), "event_time": pa.timestamp("us", "UTC")},
    ),
)
REQUEST = ("hour_of_day", "day_of_week")


def request_fields(times):
    """Return the hour with its fraction, and the day of the week from Monday, in UTC."""
    midnight = pc.floor_temporal(times, unit="day")
    hours = pc.divide(pc.cast(pc.microseconds_between(midnight, times), pa.float64()), 3.6e9)
    return hours, pc.cast(pc.day_of_week(times), pa.float64())


hours, days = request_fields(ratings["event_time"])
spine = (
    ratings.append_column("label", pc.cast(pc.greater_equal(ratings["rating"], 4), pa.int64()))
    .append_column("hour_of_day", hours)
    .append_column("day_of_week", days)
    .drop_columns(["rating"])
)
print(f"\n{spine.num_rows} rows to learn from, of {ratings['event_time'][0]} to {ratings['event_time'][-1]}")

# %% [markdown]
# ## 3. The training set
#
# One call: to each row the features as they were just before it. The rating itself is not in them.

# %%
start = time.monotonic()
training_set = client.training_set(spine, service=MODEL)
print(f"{training_set.num_columns} columns joined in {time.monotonic() - start:.1f} s")
shown = ["user_id", "movie_id", "label", "user_ratings.count_lifetime", "movie_ratings.mean_rating_lifetime"]
print("  " + "  ".join(shown))
for row in training_set.select(shown).slice(training_set.num_rows // 2, 3).to_pylist():
    print("  " + "  ".join(f"{value if value is None else round(value, 3)!s:>{len(name)}}" for name, value in row.items()))

# %% [markdown]
# ## 4. The models
#
# Trained on the first 80 % in time, stopped by the next 10 %, tested on the last 10 %: a perceptron, and gradient-boosted trees on
# the same rows. Each is written beside the repository and moved into it whole.

# %%
table = dataset.of(training_set, REQUEST)
versions = {}
for model in (MODEL, TREES):
    numbers = [int(path.name) for path in (options.models / model).glob("[0-9]*")]
    versions[model] = max(numbers, default=0) + 1
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.models.parent) as directory:
        written = pathlib.Path(directory, model, str(versions[model]))
        metrics = train.write_version(table, written)
        (options.models / model).mkdir(exist_ok=True)
        shutil.move(written, options.models / model / str(versions[model]))
    size = f"{metrics['epochs']} passes over" if "epochs" in metrics else f"{metrics['trees']} trees from"
    print(f"\n{model}: trained in {time.monotonic() - start:.1f} s, {size} {metrics['rows']['train']} rows")
    for name, report in metrics["test"].items():
        print(f"  {name:11}  AUC {report['auc']:.4f}  NDCG@10 {report['ndcg_at_10']:.4f}  ({report['users']} users)")
    for name, gain in metrics["gain"].items():
        within = f"within {gain['low']:+.3f} to {gain['high']:+.3f} in 95 of 100 samples of users"
        print(f"  NDCG@10 over {name}: {gain['mean']:+.3f}, {within}")

# %% [markdown]
# ## 5. In service
#
# Infer sees the new versions, checks them against the definitions, tries them, and serves them.

# %%
wait(
    "infer serves the new versions",
    lambda: versions.items() <= {(model.name, model.version) for model in client.models() if model.default},
)
print("\ninfer serves " + ", ".join(f"{model} version {version}" for model, version in versions.items()))

# %% [markdown]
# ## 6. What happens now
#
# The last ratings once more, as if they were given in the last minutes, through Kafka: rows are there milliseconds later.

# %%
LIVE = 2000
now = int(time.time() * 1e6)


def live(source, rows, times):
    """Push rows of past events with other times."""
    fields = [{k: v for k, v in row.items() if v is not None and k != "event_time"} for row in rows.to_pylist()]
    for begin in range(0, len(fields), 1000):
        client.push(source, [{**f, "event_time": t} for f, t in zip(fields[begin:], times[begin : begin + 1000])])


def past(source):
    """Read a file of past events, lists as lists."""
    table = pyarrow.csv.read_csv(options.past / f"{source}.csv")
    if "genres" in table.column_names:
        lists = pa.array([json.loads(text) for text in table["genres"].to_pylist()])
        table = table.set_column(table.column_names.index("genres"), "genres", lists)
    return table


movies, users, recent = past("movies"), past("users"), past("ratings").slice(max(0, ratings.num_rows - LIVE))
live("movies", movies, [now - 3_600_000_000] * movies.num_rows)
live("users", users, [now - 3_600_000_000] * users.num_rows)
live("ratings", recent, [now - (recent.num_rows - i) * 100_000 for i in range(recent.num_rows)])
counted = pc.value_counts(recent["user_id"]).to_pylist()
user = max(counted, key=lambda row: (row["counts"], row["values"]))


rated = sorted(set(recent["movie_id"].to_pylist()))


def arrived():
    """Say whether every live rating is in the rows of the user and of the movies, and no row is being filled."""
    try:
        mine = client.online_features({"user_id": user["values"]}, features=["user_ratings.count_lifetime"])
        theirs = client.online_features({"movie_id": rated}, features=["movie_ratings.count_lifetime", "movie_info.year"])
    except onehop.Unavailable:
        return False
    counts = [mine["user_ratings.count_lifetime"][0].as_py(), pc.sum(theirs["movie_ratings.count_lifetime"]).as_py()]
    return counts == [user["counts"], recent.num_rows]


wait(f"the {user['counts']} live ratings of user {user['values']} and those of {len(rated)} movies are in the rows", arrived)

# %% [markdown]
# ## 7. Predictions
#
# One hop: the features of the user and of every candidate, and the model over them.

# %%
titles = dict(zip(movies["movie_id"].to_pylist(), movies["title"].to_pylist()))
seen = set(recent.filter(pc.equal(recent["user_id"], user["values"]))["movie_id"].to_pylist())
popular = [row["values"] for row in sorted(pc.value_counts(recent["movie_id"]).to_pylist(), key=lambda row: -row["counts"])]
candidates = [movie for movie in popular if movie not in seen][:100]
hour, day = request_fields(pa.array([now], pa.timestamp("us", "UTC")))


def rank(model):
    """Ask a model for the best five."""
    return client.get_features_and_predict(
        model,
        entities={"user_id": user["values"]},
        candidates={"movie_id": candidates},
        request={"hour_of_day": hour[0].as_py(), "day_of_week": day[0].as_py()},
        top_k=5,
    )


def seconds(call):
    """Return how long the median call took, of 200 after 20 more."""
    took = []
    for _ in range(220):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return statistics.median(took[20:])


for model in versions:
    ranking = rank(model).table
    print(f"\nby {model} for user {user['values']}, of {len(candidates)} movies not rated yet:")
    for movie, score in zip(ranking["movie_id"].to_pylist(), ranking["score"].to_pylist()):
        print(f"  {score:.3f}  {titles[movie]}")
    print(f"  half of such calls took less than {1000 * seconds(lambda: rank(model)):.2f} ms")
client.close()
