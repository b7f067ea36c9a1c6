-- When the tasks of a shop were last due, and how their runs went. The moments are fixed-width UTC text.
CREATE TABLE scheduled_tasks (
    task text COLLATE "C" PRIMARY KEY,
    due text COLLATE "C" NOT NULL
);

CREATE TABLE scheduled_runs (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text COLLATE "C" NOT NULL,
    due text COLLATE "C" NOT NULL,
    started_at text COLLATE "C" NOT NULL,
    ended_at text COLLATE "C",
    state text COLLATE "C" NOT NULL DEFAULT 'running',
    detail text NOT NULL DEFAULT ''
);

CREATE INDEX scheduled_runs_of_task ON scheduled_runs (task, number);
