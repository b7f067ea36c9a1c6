-- Deliveries that were given up are dead letters: each with a number, since when, the key of its cause, and, once it was
-- decided about, when, by whom and why. Rows that were given up before are tried once more, and have all of it then.
CREATE SEQUENCE delivery_letters;

ALTER TABLE deliveries
    ADD COLUMN letter bigint,
    ADD COLUMN died_at bigint,
    ADD COLUMN cause text COLLATE "C",
    ADD COLUMN decision text;

UPDATE deliveries SET state = 'waiting', attempts = 0, due_at = delivery_clock() WHERE state = 'dead';

CREATE UNIQUE INDEX deliveries_by_letter ON deliveries (letter) WHERE letter IS NOT NULL;
CREATE INDEX letters_by_age ON deliveries (state, died_at, letter) WHERE letter IS NOT NULL;
CREATE INDEX letters_of_target ON deliveries (target, state, died_at, letter) WHERE letter IS NOT NULL;
CREATE INDEX letters_of_cause ON deliveries (state, cause, died_at, letter, target) WHERE letter IS NOT NULL;
