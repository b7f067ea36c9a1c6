-- Key figures by minute, counted since the epoch, for a day.
CREATE TABLE kpi_points (
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    minute INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (name, label, minute)
) STRICT;

-- When a key figure was above its threshold. The moments are fixed-width UTC text.
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    kpi TEXT NOT NULL,
    label TEXT NOT NULL,
    since TEXT NOT NULL,
    reading BLOB NOT NULL,
    below_since TEXT,
    resolved_at TEXT
) STRICT;

CREATE UNIQUE INDEX alerts_open ON alerts (kpi, label) WHERE resolved_at IS NULL;

-- What is to be sent to each target, and was sent.
CREATE TABLE alert_messages (
    alert INTEGER NOT NULL,
    target TEXT NOT NULL,
    event TEXT NOT NULL CHECK (event IN ('crossed', 'resolved')),
    reading BLOB NOT NULL,
    due TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    sent_at TEXT,
    error TEXT,
    PRIMARY KEY (alert, target, event)
) STRICT;

CREATE INDEX alert_messages_due ON alert_messages (due) WHERE sent_at IS NULL;
