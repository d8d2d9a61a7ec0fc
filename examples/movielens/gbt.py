"""Gradient-boosted trees for binary labels (Friedman 2001), by LightGBM (Ke et al. 2017)."""

import lightgbm

PATIENCE = 30  # trees without a better validation loss
SETTINGS = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 200,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    # The same trees with every run: sums in one order, whatever the processors.
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


def train(x, labels, x_validate, labels_validate, trees, seed):
    """Return the booster, cut off at the lowest validation loss; at most so many trees."""
    learn = lightgbm.Dataset(x, labels)
    return lightgbm.train(
        {**SETTINGS, "seed": seed},
        learn,
        trees,
        [lightgbm.Dataset(x_validate, labels_validate, reference=learn)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
