-- The key of what is wrong with a dead letter; empty for those that are here already, until the causes are listed.
ALTER TABLE dead_letters ADD COLUMN cause text COLLATE "C" NOT NULL DEFAULT '';

-- The causes, and the dead letters of each, from either end.
CREATE INDEX dead_letters_by_cause ON dead_letters ((resolution IS NOT NULL), cause, recorded_at, kind, number);
