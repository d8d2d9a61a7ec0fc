-- +goose Up
-- What was deleted on somebody's request: one row for each entity and source.
CREATE TABLE onehop.deletions (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace      text        NOT NULL,
    entity         text        NOT NULL,
    entity_key     text        NOT NULL, -- as messages write it
    source         text        NOT NULL,
    deleted_at     timestamptz NOT NULL DEFAULT now(),
    events         bigint      NOT NULL, -- deleted from history
    rows_deleted   integer     NOT NULL, -- from Redis
    rows_rewritten integer     NOT NULL, -- of other entities, folded anew without the events
    tombstone      boolean     NOT NULL, -- written to the source's topic
    kafka_until    timestamptz           -- when Kafka has dropped the events too; null where it keeps them
);
CREATE INDEX ON onehop.deletions (namespace, entity, entity_key);

-- +goose Down
DROP TABLE onehop.deletions;
