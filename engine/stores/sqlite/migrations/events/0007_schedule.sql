-- When the tasks of a shop were last due, and how their runs went. The moments are fixed-width UTC text.
CREATE TABLE scheduled_tasks (
    task TEXT PRIMARY KEY NOT NULL,
    due TEXT NOT NULL
) STRICT;

CREATE TABLE scheduled_runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task TEXT NOT NULL,
    due TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    state TEXT NOT NULL DEFAULT 'running',
    detail TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX scheduled_runs_of_task ON scheduled_runs (task, number);
