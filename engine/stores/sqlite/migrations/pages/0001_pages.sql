-- One row a domain of a page. No index but the key: every write would have to change it.
CREATE TABLE sections (
    sku TEXT NOT NULL,
    channel TEXT NOT NULL,
    domain TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    versions BLOB NOT NULL,
    body BLOB,
    occurred_at TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    PRIMARY KEY (sku, channel, domain)
) STRICT;

-- How far each domain has been folded, by whom, under which configuration, and what became of the events.
CREATE TABLE checkpoints (
    domain TEXT PRIMARY KEY,
    position INTEGER NOT NULL DEFAULT 0,
    applied INTEGER NOT NULL DEFAULT 0,
    stale INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    fingerprint TEXT,
    holder TEXT
) STRICT;

-- Events that could not be folded.
CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    domain TEXT NOT NULL,
    originator_id TEXT NOT NULL,
    originator_version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    digest BLOB NOT NULL,
    error TEXT NOT NULL,
    state BLOB NOT NULL,
    recorded_at TEXT NOT NULL,
    UNIQUE (originator_id, originator_version, revision, digest)
) STRICT;
