-- Opaque state of vendors' reasoning, by the id of the tool call that it belongs to. `expires` in seconds since 1970.
CREATE TABLE IF NOT EXISTS state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_expires ON state (expires);
