-- keep_letter --
-- Keeps events in dead letters; one that is there already gets the new reason.
INSERT INTO dead_letters
    (kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at)
SELECT kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at::timestamptz
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::bytea[], $7::text[], $8::bytea[], $9::text[]
) AS letter (kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at)
ON CONFLICT (kind, domain, originator_id, originator_version, revision, digest) DO UPDATE SET error = excluded.error;

-- list_letters --
-- The newest dead letters, of one kind and domain or of all.
SELECT kind, number, domain, originator_id, originator_version, revision, error, state,
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM dead_letters
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR domain = $2)
ORDER BY recorded_at DESC, number DESC
LIMIT $3;

-- get_letter --
-- One dead letter.
SELECT kind, number, domain, originator_id, originator_version, revision, error, state,
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM dead_letters
WHERE kind = $1 AND number = $2;

-- discard_letter --
-- Takes one dead letter out.
DELETE FROM dead_letters WHERE kind = $1 AND number = $2;

-- count_letters --
-- How many dead letters each domain has, by kind.
SELECT kind, domain, count(*) FROM dead_letters GROUP BY kind, domain;

-- has_letters --
-- Whether a domain has any dead letter that could not be folded.
SELECT EXISTS (SELECT 1 FROM dead_letters WHERE kind = 'projection' AND domain = $1);

-- resolve_letters --
-- Takes out the dead letters of some streams of a domain that could not be folded.
DELETE FROM dead_letters WHERE kind = 'projection' AND domain = $1 AND originator_id = ANY ($2::text[]);
