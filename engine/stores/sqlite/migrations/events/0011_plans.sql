-- Plans of configurations that are kept, and what was decided about them. The times are fixed-width UTC text.
CREATE TABLE plans (
    plan TEXT PRIMARY KEY NOT NULL,
    planned_at TEXT NOT NULL,
    digest TEXT NOT NULL,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    made_by TEXT NOT NULL,
    state TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_at TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
