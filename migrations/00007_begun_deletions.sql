-- +goose Up
-- A deletion is written down when it begins; deleted_at says when it was done, and is null for
-- one that is under way or was stopped.
ALTER TABLE onehop.deletions ADD COLUMN begun_at timestamptz NOT NULL DEFAULT now();
UPDATE onehop.deletions SET begun_at = deleted_at;
ALTER TABLE onehop.deletions ALTER COLUMN deleted_at DROP NOT NULL, ALTER COLUMN deleted_at DROP DEFAULT;

-- +goose Down
DELETE FROM onehop.deletions WHERE deleted_at IS NULL;
ALTER TABLE onehop.deletions ALTER COLUMN deleted_at SET NOT NULL, ALTER COLUMN deleted_at SET DEFAULT now();
ALTER TABLE onehop.deletions DROP COLUMN begun_at;
