-- The log, named as in the `eventsourcing` library. AUTOINCREMENT, because a plain rowid is used again after a delete.
CREATE TABLE stored_events (
    notification_id INTEGER PRIMARY KEY AUTOINCREMENT,
    originator_id TEXT NOT NULL,
    originator_version INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    topic TEXT NOT NULL,
    state BLOB NOT NULL,
    UNIQUE (originator_id, originator_version, revision)
) STRICT;

-- Snapshots of the aggregates that applications of that library keep in this log.
CREATE TABLE stored_snapshots (
    originator_id TEXT NOT NULL,
    originator_version INTEGER NOT NULL,
    topic TEXT NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
) STRICT;

-- How far applications of that library have come with an upstream application.
CREATE TABLE tracking (
    application_name TEXT PRIMARY KEY,
    notification_id INTEGER NOT NULL
) STRICT;

-- Events that were kept at the door. They stand beside the log, because they can not be folded again from it.
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
