"""Ranking quality: AUC over all rows, NDCG@10 per user."""

import numpy as np

MEAN_RATING = "movie_ratings.mean_rating_lifetime"


def popularity(train, test):
    """Score each row of test by how many positive labels its movie has in train: the baseline."""
    movies, counts = np.unique(train.movies[train.labels == 1], return_counts=True)
    if len(movies) == 0:
        return np.zeros(len(test.movies))
    at = np.minimum(np.searchsorted(movies, test.movies), len(movies) - 1)
    return np.where(movies[at] == test.movies, counts[at], 0).astype(float)


def mean_rating(test):
    """Score each row of test by its movie's mean rating so far, 0 if it has none: a stronger baseline. None without the column."""
    if MEAN_RATING not in test.columns:
        return None
    return np.nan_to_num(test.features[:, test.columns.index(MEAN_RATING)])


def report(scores, test, known):
    """Say how good scores are: over all rows, and apart for users that training knew and did not."""
    said = quality(scores, test.labels, test.users)
    old = np.isin(test.users, known)
    for name, rows in (("known_users", old), ("new_users", ~old)):
        said[name] = quality(scores[rows], test.labels[rows], test.users[rows])
    return said


def quality(scores, labels, users):
    if len(set(labels)) < 2:
        return {"rows": len(labels)}  # nothing is better than anything else
    ndcg, of = ndcg_by_user(scores, labels, users, 10)
    return {"rows": len(labels), "auc": round(auc(scores, labels), 6), "ndcg_at_10": round(ndcg, 6), "users": of}


def gain(scores, others, test, samples=2000, seed=1):
    """Return the gain in NDCG@10 of scores over others, and where 95 % of bootstrap samples of users have it (Efron 1979)."""
    differences = by_user(scores, test.labels, test.users, 10) - by_user(others, test.labels, test.users, 10)
    random = np.random.default_rng(seed)
    means = [random.choice(differences, len(differences)).mean() for _ in range(samples)]
    low, high = np.quantile(means, (0.025, 0.975))
    return {"mean": round(float(differences.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def auc(scores, labels):
    """Return the chance that a positive row scores above a negative one; ties count half (Mann and Whitney 1947)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # from 1, the mean of the ties
    positive = labels == 1
    p, n = positive.sum(), (~positive).sum()
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))


def ndcg_by_user(scores, labels, users, k):
    """Return the mean NDCG@k over the users that have both labels, and how many these are."""
    found = by_user(scores, labels, users, k)
    return (float(np.mean(found)) if len(found) else 0.0), len(found)


def by_user(scores, labels, users, k):
    """Return the NDCG@k of each user that has both labels, in order of the users."""
    found = []
    for user in np.unique(users):
        rows = users == user
        if 0 < labels[rows].sum() < rows.sum():
            found.append(ndcg(scores[rows], labels[rows], k))
    return np.array(found)


def ndcg(scores, labels, k):
    discounts = 1 / np.log2(np.arange(2, len(scores) + 2))
    discounts[k:] = 0
    _, inverse = np.unique(-scores, return_inverse=True)
    tied = np.bincount(inverse, labels) / np.bincount(inverse)  # mean gain of each group of ties, best first
    return float((tied[np.sort(inverse)] * discounts).sum() / (np.sort(labels)[::-1] * discounts).sum())
