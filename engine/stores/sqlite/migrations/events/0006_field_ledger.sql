-- What the records of sources have at each field, since when, and how often. The row of the field '' counts the records of
-- a family. It stands beside the log, because it can not be folded again from it.
CREATE TABLE source_fields (
    source TEXT NOT NULL,
    contract TEXT NOT NULL,
    family TEXT NOT NULL,
    field TEXT NOT NULL,
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    records INTEGER NOT NULL,
    first_at INTEGER NOT NULL DEFAULT 0,
    seen_at INTEGER NOT NULL,
    types INTEGER NOT NULL,
    accepted_types INTEGER NOT NULL,
    mapped INTEGER NOT NULL,
    example TEXT NOT NULL,
    alert TEXT CHECK (alert IN ('new', 'vanished', 'type', 'value')),
    alerted_at TEXT,
    vanished_at TEXT,
    PRIMARY KEY (source, contract, family, field)
) STRICT;

-- There are few alerts among many fields.
CREATE INDEX source_fields_alerts ON source_fields (source, alert) WHERE alert IS NOT NULL;
