-- keep_letter --
-- Keeps an event in dead letters; one that is there already gets the new reason.
INSERT INTO dead_letters (domain, originator_id, originator_version, revision, digest, error, state, recorded_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (originator_id, originator_version, revision, digest) DO UPDATE SET error = excluded.error;

-- list_letters --
-- The newest dead letters, of one domain or of all.
SELECT number, domain, originator_id, originator_version, revision, error, state, recorded_at FROM dead_letters
WHERE ?1 IS NULL OR domain = ?1
ORDER BY recorded_at DESC, number DESC
LIMIT ?2;

-- get_letter --
-- One dead letter.
SELECT number, domain, originator_id, originator_version, revision, error, state, recorded_at FROM dead_letters
WHERE number = ?;

-- discard_letter --
-- Takes one dead letter out.
DELETE FROM dead_letters WHERE number = ?;

-- count_letters --
-- How many dead letters each domain has.
SELECT domain, count(*) FROM dead_letters GROUP BY domain;

-- has_letters --
-- Whether a domain has any dead letter.
SELECT EXISTS (SELECT 1 FROM dead_letters WHERE domain = ?);

-- resolve_letters --
-- Takes out the dead letters of some streams.
DELETE FROM dead_letters WHERE originator_id IN carray(?);
