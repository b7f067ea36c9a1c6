-- Who did what: an entry is there before anything is done, and says afterwards what came of it.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at TEXT NOT NULL,
    actor TEXT NOT NULL,
    via TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT,
    command TEXT,
    ended_at TEXT,
    outcome TEXT,
    error TEXT,
    details TEXT NOT NULL DEFAULT '{}'
) STRICT;
