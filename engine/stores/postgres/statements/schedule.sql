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
-- Records how a run ended and what it found; a no-op if it has ended.
UPDATE scheduled_runs SET state = $2, detail = $3, ended_at = $4, result = $5
WHERE number = $1 AND ended_at IS NULL RETURNING task;

-- forget_runs --
-- Removes all but the newest runs of a task.
DELETE FROM scheduled_runs WHERE task = $1 AND number <= (
    SELECT number FROM scheduled_runs WHERE task = $1 ORDER BY number DESC LIMIT 1 OFFSET $2
);

-- newest_runs --
-- The newest runs, of a task or all.
SELECT number, task, due, started_at, ended_at, state, detail, request IS NOT NULL FROM scheduled_runs
WHERE CAST($1 AS text) IS NULL OR task = $1
ORDER BY number DESC
LIMIT $2;

-- request_run --
-- Adds a run that is asked for; a no-op while one of its task has not ended.
INSERT INTO scheduled_runs (task, request, due, started_at, state) VALUES ($1, $2, $3, $3, 'requested')
ON CONFLICT DO NOTHING RETURNING number;

-- take_up_run --
-- A run that was asked for begins; a no-op if it does not wait.
UPDATE scheduled_runs SET state = 'running', started_at = $2 WHERE number = $1 AND state = 'requested' RETURNING number;

-- cancel_run --
-- A run that was asked for ends before it has begun; a no-op if it does not wait.
UPDATE scheduled_runs SET state = 'stopped', detail = $2, ended_at = $3
WHERE number = $1 AND state = 'requested' RETURNING number;

-- requested_run --
-- A run that was asked for.
SELECT number, task, due, started_at, ended_at, state, detail, request, result FROM scheduled_runs
WHERE number = $1 AND request IS NOT NULL;

-- open_requests --
-- The runs that were asked for and have not ended, oldest first.
SELECT number, task, due, started_at, ended_at, state, detail, request, result FROM scheduled_runs
WHERE request IS NOT NULL AND ended_at IS NULL
ORDER BY number;
