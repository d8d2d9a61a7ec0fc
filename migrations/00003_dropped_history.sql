-- +goose Up
-- Where the history of a source begins, once its retention made months go.
CREATE TABLE onehop.dropped (
    namespace text        NOT NULL,
    source    text        NOT NULL,
    before    timestamptz NOT NULL, -- events of before this time are gone
    PRIMARY KEY (namespace, source)
);

-- +goose Down
DROP TABLE onehop.dropped;
