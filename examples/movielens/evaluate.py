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


def report(scores, test):
    ndcg, users = ndcg_by_user(scores, test.labels, test.users, 10)
    return {"auc": round(auc(scores, test.labels), 6), "ndcg_at_10": round(ndcg, 6), "users": users}


def auc(scores, labels):
    """Return the chance that a positive row scores above a negative one; ties count half (Mann and Whitney 1947)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # from 1, the mean of the ties
    positive = labels == 1
    p, n = positive.sum(), (~positive).sum()
    return float((ranks[positive].sum() - p * (p + 1) / 2) / (p * n))


def ndcg_by_user(scores, labels, users, k):
    """Return the mean NDCG@k over users with both labels among their rows, and how many those are.

    Rows of equal score share the mean gain of their ties (McSherry and Najork 2008), so the order of the file can't help.
    """
    found = []
    for user in np.unique(users):
        rows = users == user
        if 0 < labels[rows].sum() < rows.sum():
            found.append(ndcg(scores[rows], labels[rows], k))
    return (float(np.mean(found)) if found else 0.0), len(found)


def ndcg(scores, labels, k):
    discounts = 1 / np.log2(np.arange(2, len(scores) + 2))
    discounts[k:] = 0
    _, inverse = np.unique(-scores, return_inverse=True)
    tied = np.bincount(inverse, labels) / np.bincount(inverse)  # mean gain of each group of ties, best first
    return float((tied[np.sort(inverse)] * discounts).sum() / (np.sort(labels)[::-1] * discounts).sum())
