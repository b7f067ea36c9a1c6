-- meet_task --
-- Notes when a task was first asked for; a no-op if it was before.
INSERT INTO scheduled_tasks (task, due) VALUES ($1, $2) ON CONFLICT (task) DO NOTHING;

-- task_due --
-- The due time of a task's newest run, or when it was first asked for.
SELECT due FROM scheduled_tasks WHERE task = $1;

-- task_begins --
-- The task's newest run has this due time.
INSERT INTO scheduled_tasks (task, due) VALUES ($1, $2) ON CONFLICT (task) DO UPDATE SET due = excluded.due;

-- begin_run --
-- Adds a run.
INSERT INTO scheduled_runs (task, due, started_at) VALUES ($1, $2, $3) RETURNING number;

-- end_run --
-- Records how a run ended.
UPDATE scheduled_runs SET state = $2, detail = $3, ended_at = $4 WHERE number = $1 RETURNING task;

-- forget_runs --
-- Removes all but the newest runs of a task.
DELETE FROM scheduled_runs WHERE task = $1 AND number <= (
    SELECT number FROM scheduled_runs WHERE task = $1 ORDER BY number DESC LIMIT 1 OFFSET $2
);

-- newest_runs --
-- The newest runs, of a task or all.
SELECT number, task, due, started_at, ended_at, state, detail FROM scheduled_runs
WHERE CAST($1 AS text) IS NULL OR task = $1
ORDER BY number DESC
LIMIT $2;
