-- +goose Up
-- Whether the file of an import is in history with all its rows. An import is one transaction;
-- releases before this copied batch by batch, and may have left a part.
ALTER TABLE onehop.offsets ADD COLUMN whole boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE onehop.offsets DROP COLUMN whole;
