-- Opaque state of vendors' reasoning, by the id of the tool call that it belongs to. `expires` in seconds since 1970.
CREATE TABLE IF NOT EXISTS state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_expires ON state (expires);

-- What each scope has used in each window, in nano-dollars; budget or no budget. STRICT: a sum beyond 64 bits is an error
-- and not silently a float.
CREATE TABLE IF NOT EXISTS counter (
    label TEXT NOT NULL,
    scope TEXT NOT NULL,
    spent INTEGER NOT NULL,
    held INTEGER NOT NULL,
    unproven INTEGER NOT NULL,
    PRIMARY KEY (label, scope)
) STRICT, WITHOUT ROWID;

-- Money that is held now. `at` and `expires` in milliseconds since 1970; `entry` is the row that it will become, in JSON.
CREATE TABLE IF NOT EXISTS hold (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    entry TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- As many rows as requests are open: to look through them now and then is less than an index that each of them changes.
DROP INDEX IF EXISTS hold_expires;

-- What was spent, a row for each attempt: `entry` in JSON.
CREATE TABLE IF NOT EXISTS ledger (
    id TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    entry TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS ledger_at ON ledger (at, id);

-- Alerts that were said, each once.
CREATE TABLE IF NOT EXISTS alert (
    label TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (label, key)
) STRICT, WITHOUT ROWID;

-- What all workers are to know of each other; the highest serial number is the last change.
CREATE TABLE IF NOT EXISTS board (
    key TEXT PRIMARY KEY,
    serial INTEGER NOT NULL,
    text BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS board_serial ON board (serial);

-- What each key has taken of its quota: `state` in JSON (`quota.Usage`), `idle` when it says nothing any more, in
-- milliseconds since 1970.
CREATE TABLE IF NOT EXISTS quota (
    key TEXT PRIMARY KEY,
    idle INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS quota_idle ON quota (idle);

-- What a caller said of a request; `at` in milliseconds since 1970, not before that of its row.
CREATE TABLE IF NOT EXISTS feedback (
    request TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    score REAL NOT NULL,
    comment TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS feedback_at ON feedback (at);
