-- +goose Up
-- Where the history of a source begins, once its retention made months go. Who reads history
-- holds a lock of this table in the mode ACCESS SHARE until the end of the transaction; months
-- are dropped under ACCESS EXCLUSIVE, and so never under a reader.
CREATE TABLE onehop.dropped (
    namespace text        NOT NULL,
    source    text        NOT NULL,
    before    timestamptz NOT NULL, -- events of before this time are gone
    PRIMARY KEY (namespace, source)
);

-- +goose Down
DROP TABLE onehop.dropped;
