-- +goose Up
-- How the features of a feature service were distributed in the training set of a model.
CREATE TABLE onehop.baselines (
    namespace text        NOT NULL,
    service   text        NOT NULL,
    feature   text        NOT NULL,
    made_at   timestamptz NOT NULL DEFAULT now(),
    baseline  jsonb       NOT NULL,
    PRIMARY KEY (namespace, service, feature)
);

-- +goose Down
DROP TABLE onehop.baselines;
