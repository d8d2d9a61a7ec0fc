-- +goose Up
-- Which switch made the state that a rollback brought back: 0 for the one before any switch, null for what is no rollback and for rollbacks
-- of before this column.
ALTER TABLE onehop.model_switches ADD COLUMN back_to bigint;

-- +goose Down
ALTER TABLE onehop.model_switches DROP COLUMN back_to;
