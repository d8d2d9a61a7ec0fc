-- +goose Up
-- When history first saw a partition: a topic that was deleted and made again has other
-- offsets, and this says which came first.
ALTER TABLE onehop.offsets ADD COLUMN seen timestamptz NOT NULL DEFAULT clock_timestamp();

-- +goose Down
ALTER TABLE onehop.offsets DROP COLUMN seen;
