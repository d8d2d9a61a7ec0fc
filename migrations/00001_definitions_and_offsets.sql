-- +goose Up
CREATE SCHEMA onehop;

-- One row for each applied version of a namespace's definitions.
CREATE TABLE onehop.definitions (
    namespace    text        NOT NULL,
    version      integer     NOT NULL,
    effective_at timestamptz NOT NULL, -- records from this timestamp on are decoded by it
    applied_at   timestamptz NOT NULL DEFAULT now(),
    catalog      jsonb       NOT NULL,
    PRIMARY KEY (namespace, version)
);

-- How far the history of each partition goes. It moves in the transaction that
-- copies the records.
CREATE TABLE onehop.offsets (
    namespace text    NOT NULL,
    source    text    NOT NULL,
    topic_id  uuid    NOT NULL,
    partition integer NOT NULL,
    next      bigint  NOT NULL,
    PRIMARY KEY (namespace, source, topic_id, partition)
);

-- +goose Down
DROP SCHEMA onehop CASCADE;
