-- The columns by which dead letters are counted and chosen are in the indexes, so that only those that are shown are read
-- from the table.
DROP INDEX dead_letters_by_age;
CREATE INDEX dead_letters_by_age
    ON dead_letters ((resolution IS NOT NULL), recorded_at, kind, number, domain, originator_id);

DROP INDEX dead_letters_by_cause;
CREATE INDEX dead_letters_by_cause
    ON dead_letters ((resolution IS NOT NULL), cause, recorded_at, kind, number, domain, originator_id);

-- Open ones, by kind.
DROP INDEX dead_letters_open;
CREATE INDEX dead_letters_open ON dead_letters (kind, domain, originator_id) WHERE resolution IS NULL;

-- Open ones whose bodies were removed are few.
CREATE INDEX dead_letters_purged ON dead_letters (kind, purged_at) WHERE resolution IS NULL AND purged_at IS NOT NULL;

-- Lists that are read in this order, without sorting everything.
CREATE INDEX fetches_by_age ON fetches (since, source, rule, key);
CREATE INDEX plans_by_time ON plans (planned_at, plan);
