-- Runs that an operator has asked for, beside those that were due: what was asked for, and what was found.
ALTER TABLE scheduled_runs ADD COLUMN request text;
ALTER TABLE scheduled_runs ADD COLUMN result text;

CREATE UNIQUE INDEX scheduled_runs_requested ON scheduled_runs (task) WHERE request IS NOT NULL AND ended_at IS NULL;
