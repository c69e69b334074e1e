-- The firewall's control schema. It belongs to the control login alone: no login that serves clients may use it.
-- Rows that decide who gets in, or what is protected, carry a MAC under a key that the database does not have.

REVOKE ALL ON SCHEMA ringfence FROM PUBLIC;

CREATE TABLE ringfence.tokens (
    kid            text        PRIMARY KEY CHECK (kid ~ '^[a-z0-9]{8}$'),
    client         text        NOT NULL,
    -- SCRAM-SHA-256$4096:salt$StoredKey:ServerKey; the token itself is nowhere.
    scram_verifier text        NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    created_by     text        NOT NULL,
    mac            bytea       NOT NULL
);
CREATE INDEX tokens_client ON ringfence.tokens (client);

-- Which label a column was found to have, by what never changes: a rename does not take a label away.
CREATE TABLE ringfence.column_labels (
    database_oid oid         NOT NULL,
    table_oid    oid         NOT NULL,
    attnum       int2        NOT NULL,
    label        text        NOT NULL,
    database     text        NOT NULL,
    table_name   text        NOT NULL,
    column_name  text        NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    mac          bytea       NOT NULL,
    PRIMARY KEY (database_oid, table_oid, attnum, label)
);

-- Raised after DDL through any replica, so that the others read the catalog again.
CREATE TABLE ringfence.catalog_versions (
    database   text        PRIMARY KEY,
    version    bigint      NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- NOTIFYs are hints: whoever hears one reads the rows again.
CREATE FUNCTION ringfence.hint() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('ringfence_control', TG_TABLE_NAME);
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION ringfence.hint() FROM PUBLIC;
CREATE TRIGGER hint AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ringfence.tokens
    FOR EACH STATEMENT EXECUTE FUNCTION ringfence.hint();
CREATE TRIGGER hint AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON ringfence.column_labels
    FOR EACH STATEMENT EXECUTE FUNCTION ringfence.hint();
CREATE TRIGGER hint AFTER INSERT OR UPDATE OR DELETE ON ringfence.catalog_versions
    FOR EACH STATEMENT EXECUTE FUNCTION ringfence.hint();
