-- Deliveries that were given up are dead letters: each with a number, since when, the key of its cause, and, once it was
-- decided about, when, by whom and why. Rows that were given up before are tried once more, and have all of it then.
ALTER TABLE deliveries ADD COLUMN letter INTEGER;
ALTER TABLE deliveries ADD COLUMN died_at INTEGER;
ALTER TABLE deliveries ADD COLUMN cause TEXT;
ALTER TABLE deliveries ADD COLUMN decision TEXT;

UPDATE deliveries SET state = 'waiting', attempts = 0, due_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE state = 'dead';

CREATE UNIQUE INDEX deliveries_by_letter ON deliveries (letter) WHERE letter IS NOT NULL;
CREATE INDEX letters_by_age ON deliveries (state, died_at, letter) WHERE letter IS NOT NULL;
CREATE INDEX letters_of_target ON deliveries (target, state, died_at, letter) WHERE letter IS NOT NULL;
CREATE INDEX letters_of_cause ON deliveries (state, cause, died_at, letter, target) WHERE letter IS NOT NULL;
