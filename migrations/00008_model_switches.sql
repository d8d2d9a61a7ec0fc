-- +goose Up
-- What was switched by hand: which versions of a model answer. The newest of a model is wanted.
CREATE TABLE onehop.model_switches (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text        NOT NULL,
    model     text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    who       text        NOT NULL,
    reason    text        NOT NULL,
    action    text        NOT NULL, -- set, rollback or from_file
    was       jsonb       NOT NULL, -- wanted before, over the model's serving.yaml
    traffic   jsonb       NOT NULL  -- wanted from now on, over the model's serving.yaml; the outcomes say who took it
);
CREATE INDEX ON onehop.model_switches (namespace, model, id);

-- What became of them, in each instance of infer: a row whenever that changes.
CREATE TABLE onehop.model_switch_outcomes (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    switch_id bigint      NOT NULL REFERENCES onehop.model_switches,
    instance  text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    problem   text        NOT NULL -- why it was not taken; empty when it was
);
CREATE INDEX ON onehop.model_switch_outcomes (switch_id, id);

-- +goose StatementBegin
CREATE FUNCTION onehop.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is a record: its rows are neither changed nor deleted', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON onehop.model_switches
    FOR EACH STATEMENT EXECUTE FUNCTION onehop.refuse_change();
CREATE TRIGGER record BEFORE UPDATE OR DELETE OR TRUNCATE ON onehop.model_switch_outcomes
    FOR EACH STATEMENT EXECUTE FUNCTION onehop.refuse_change();

-- +goose Down
DROP TABLE onehop.model_switch_outcomes, onehop.model_switches;
DROP FUNCTION onehop.refuse_change;
