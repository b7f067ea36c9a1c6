-- keep_dead_letter --
-- Adds events to the dead letters. An existing one gets the new reason, is reopened unless an operator resolved it, and
-- gets its body back if that was removed.
INSERT INTO dead_letters
    (kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at, headers, via,
    reference_kind, reference_id, cause)
SELECT
    kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at::timestamptz, headers,
    via, reference_kind, reference_id, cause
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::bytea[], $7::text[], $8::bytea[], $9::text[],
    $10::bytea[], $11::text[], $12::text[], $13::text[], $14::text[]
) AS event (
    kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at, headers, via,
    reference_kind, reference_id, cause
)
ON CONFLICT (kind, domain, originator_id, originator_version, revision, digest) DO UPDATE SET
    error = excluded.error, cause = excluded.cause,
    recorded_at = CASE
        WHEN dead_letters.resolution IS NULL AND dead_letters.purged_at IS NULL THEN dead_letters.recorded_at
        ELSE excluded.recorded_at
    END,
    state = CASE WHEN dead_letters.purged_at IS NULL THEN dead_letters.state ELSE excluded.state END,
    headers = CASE WHEN dead_letters.purged_at IS NULL THEN dead_letters.headers ELSE excluded.headers END,
    reference_kind = excluded.reference_kind, reference_id = excluded.reference_id,
    purged_at = NULL, purged_by = NULL,
    resolution = NULL, resolved_at = NULL, resolved_by = NULL, reason = NULL, position = NULL
WHERE dead_letters.resolution IS NULL OR dead_letters.resolution NOT IN ('corrected', 'discarded');

-- newest_dead_letters --
-- The next dead letters after a key, open or resolved, newest first, without bodies. A stream ends in its source.
SELECT kind, number, domain, originator_id, originator_version, revision, left(error, $9::integer),
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolution,
       to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolved_by, reason, position, via,
       to_char(purged_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), purged_by, cause
FROM dead_letters
WHERE number = ANY (ARRAY(
    SELECT number FROM dead_letters
    WHERE (resolution IS NOT NULL) = $4::boolean AND (recorded_at, kind, number) < ($5::text::timestamptz, $6::text, $7::bigint)
        AND ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR domain = $2)
        AND ($3::text IS NULL OR right(originator_id, length($3) + 1) = '/' || $3)
    ORDER BY recorded_at DESC, kind DESC, number DESC
    LIMIT $8
))
ORDER BY recorded_at DESC, kind DESC, number DESC;

-- newest_dead_letters_of_cause --
-- The next dead letters of a cause after a key, open or resolved, newest first, likewise.
SELECT kind, number, domain, originator_id, originator_version, revision, left(error, $9::integer),
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolution,
       to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolved_by, reason, position, via,
       to_char(purged_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), purged_by, cause
FROM dead_letters
WHERE number = ANY (ARRAY(
    SELECT number FROM dead_letters
    WHERE (resolution IS NOT NULL) = $4::boolean AND cause = $10
        AND (recorded_at, kind, number) < ($5::text::timestamptz, $6::text, $7::bigint)
        AND ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR domain = $2)
        AND ($3::text IS NULL OR right(originator_id, length($3) + 1) = '/' || $3)
    ORDER BY recorded_at DESC, kind DESC, number DESC
    LIMIT $8
))
ORDER BY recorded_at DESC, kind DESC, number DESC;

-- oldest_dead_letters --
-- The next dead letters after a key, open or resolved, oldest first, likewise.
SELECT kind, number, domain, originator_id, originator_version, revision, left(error, $9::integer),
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolution,
       to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolved_by, reason, position, via,
       to_char(purged_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), purged_by, cause
FROM dead_letters
WHERE number = ANY (ARRAY(
    SELECT number FROM dead_letters
    WHERE (resolution IS NOT NULL) = $4::boolean AND (recorded_at, kind, number) > ($5::text::timestamptz, $6::text, $7::bigint)
        AND ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR domain = $2)
        AND ($3::text IS NULL OR right(originator_id, length($3) + 1) = '/' || $3)
    ORDER BY recorded_at, kind, number
    LIMIT $8
))
ORDER BY recorded_at, kind, number;

-- oldest_dead_letters_of_cause --
-- The next dead letters of a cause after a key, open or resolved, oldest first, likewise.
SELECT kind, number, domain, originator_id, originator_version, revision, left(error, $9::integer),
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolution,
       to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolved_by, reason, position, via,
       to_char(purged_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), purged_by, cause
FROM dead_letters
WHERE number = ANY (ARRAY(
    SELECT number FROM dead_letters
    WHERE (resolution IS NOT NULL) = $4::boolean AND cause = $10
        AND (recorded_at, kind, number) > ($5::text::timestamptz, $6::text, $7::bigint)
        AND ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR domain = $2)
        AND ($3::text IS NULL OR right(originator_id, length($3) + 1) = '/' || $3)
    ORDER BY recorded_at, kind, number
    LIMIT $8
))
ORDER BY recorded_at, kind, number;

-- get_dead_letter --
-- One complete dead letter. By number, not by the key that begins with the kind, which half of them share.
SELECT kind, number, domain, originator_id, originator_version, revision, error,
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolution,
       to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolved_by, reason, position, via,
       to_char(purged_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), purged_by, cause, state, headers
FROM dead_letters
WHERE kind IS NOT DISTINCT FROM $1 AND number = $2;

-- resolve_dead_letter --
-- Resolves one dead letter that no operator has resolved, likewise.
UPDATE dead_letters SET resolution = $1, resolved_at = $2::text::timestamptz, resolved_by = $3, reason = $4, position = $5
WHERE kind IS NOT DISTINCT FROM $6 AND number = $7 AND (resolution IS NULL OR resolution NOT IN ('corrected', 'discarded'));

-- resolve_open --
-- Resolves those of some dead letters that are open; locked in their order, for others may do so, too. By number: the
-- index of the open ones, which has not the number, must not do.
UPDATE dead_letters SET resolution = $1, resolved_at = $2::text::timestamptz, resolved_by = $3, reason = $4, position = $5
WHERE number = ANY (ARRAY(SELECT number FROM dead_letters WHERE number = ANY ($6::bigint[]) ORDER BY number FOR UPDATE))
    AND (resolution IS NULL OR resolution = '')
RETURNING kind, number;

-- count_letters --
-- The number of dead letters, of one kind, domain and source or of all, open or resolved.
SELECT count(*) FROM dead_letters
WHERE (resolution IS NOT NULL) = $4::boolean AND ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR domain = $2)
    AND ($3::text IS NULL OR right(originator_id, length($3) + 1) = '/' || $3);

-- count_open_letters --
-- The number of open dead letters of a kind and a domain, of one source or of all.
SELECT count(*) FROM dead_letters
WHERE resolution IS NULL AND kind = $1 AND domain = $2 AND ($3::text IS NULL OR right(originator_id, length($3) + 1) = '/' || $3);

-- count_letters_of_cause --
-- The number of dead letters of a cause, likewise.
SELECT count(*) FROM dead_letters
WHERE (resolution IS NOT NULL) = $4::boolean AND cause = $5 AND ($1::text IS NULL OR kind = $1)
    AND ($2::text IS NULL OR domain = $2)
    AND ($3::text IS NULL OR right(originator_id, length($3) + 1) = '/' || $3);

-- count_dead_letters --
-- The number of open dead letters of each domain, by kind.
SELECT kind, domain, count(*) FROM dead_letters WHERE resolution IS NULL GROUP BY kind, domain;

-- count_recent_letters --
-- How many dead letters of each kind were added since a time, requests apart; open and resolved ones each up to a limit.
SELECT CASE WHEN domain = '' AND kind = 'ingest' THEN 'request' ELSE kind END, count(*)
FROM (
    (
        SELECT kind, domain FROM dead_letters
        WHERE (resolution IS NOT NULL) = FALSE AND recorded_at >= $1::text::timestamptz LIMIT $2
    )
    UNION ALL
    (
        SELECT kind, domain FROM dead_letters
        WHERE (resolution IS NOT NULL) = TRUE AND recorded_at >= $1::text::timestamptz LIMIT $2
    )
) AS recent
GROUP BY 1;

-- has_dead_letters --
-- Whether a domain has any open dead letter that could not be folded.
SELECT EXISTS (SELECT 1 FROM dead_letters WHERE kind = 'projection' AND domain = $1 AND resolution IS NULL);

-- resolve_dead_letters --
-- Resolves the open dead letters of some streams of a domain that could not be folded.
UPDATE dead_letters SET resolution = $1, resolved_at = $2::text::timestamptz, resolved_by = $3, reason = $4, position = $5
WHERE kind = 'projection' AND domain = $6 AND originator_id = ANY ($7::text[]) AND resolution IS NULL;

-- requests_of --
-- The versions of some streams at which there are open requests that could not be turned into events.
SELECT originator_id, originator_version FROM dead_letters
WHERE kind = 'ingest' AND domain = '' AND originator_id = ANY ($1::text[]) AND resolution IS NULL;

-- dead_letters_of_sku --
-- The open dead letters of the streams of a SKU in some domains, the newest first, without bodies.
SELECT kind, number, domain, originator_id, originator_version, revision, left(error, $4::integer),
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolution,
       to_char(resolved_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), resolved_by, reason, position, via,
       to_char(purged_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), purged_by, cause
FROM dead_letters
WHERE resolution IS NULL AND kind = ANY ($1::text[]) AND domain = ANY ($2::text[])
    AND originator_id >= $3::text || '/' AND originator_id < $3::text || '0'
ORDER BY recorded_at DESC, kind DESC, number DESC
LIMIT $5;

-- purge_dead_letters --
-- Removes the bodies of the oldest expired dead letters, of a kind, or requests, open or resolved, up to a number or a size.
UPDATE dead_letters SET error = $1, purged_at = $2::text::timestamptz, purged_by = $3, state = '', headers = '{}'
WHERE number = ANY (ARRAY(
    SELECT number
    FROM (
        SELECT number, sum(size) OVER (ORDER BY since, number) - size AS before
        FROM (
            SELECT number, coalesce(resolved_at, recorded_at) AS since, octet_length(state) AS size
            FROM dead_letters
            WHERE purged_at IS NULL AND CASE WHEN domain = '' THEN 'request' ELSE kind END = $4
                AND (resolution IS NOT NULL) = $5::boolean AND coalesce(resolved_at, recorded_at) < $6::text::timestamptz
            ORDER BY coalesce(resolved_at, recorded_at)
            LIMIT $7
            FOR UPDATE SKIP LOCKED
        ) AS oldest
    ) AS summed
    WHERE before < $8::bigint
))
RETURNING number;

-- purge_dead_letter --
-- Removes the body of one dead letter.
UPDATE dead_letters SET error = $1, purged_at = $2::text::timestamptz, purged_by = $3, state = '', headers = '{}'
WHERE kind IS NOT DISTINCT FROM $4 AND number = $5 AND purged_at IS NULL
RETURNING number;

-- count_expired --
-- The number of expired dead letters, likewise.
SELECT count(*) FROM dead_letters
WHERE purged_at IS NULL AND CASE WHEN domain = '' THEN 'request' ELSE kind END = $1
    AND (resolution IS NOT NULL) = $2::boolean AND coalesce(resolved_at, recorded_at) < $3::text::timestamptz;

-- count_purged --
-- The number of open dead letters of a kind without a body.
SELECT count(*) FROM dead_letters WHERE resolution IS NULL AND purged_at IS NOT NULL AND kind = $1;

-- waiting_dead_letters --
-- The next open dead letters that wait, in the order in which they are taken.
SELECT reference_kind, reference_id, originator_version, number FROM dead_letters
WHERE kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL
    AND (reference_kind, reference_id, originator_version, number) > ($1::text, $2::text, $3::bigint, $4::bigint)
ORDER BY reference_kind, reference_id, originator_version, number
LIMIT $5;

-- wait_for_reference --
-- Lets a dead letter wait for another reference.
UPDATE dead_letters SET reference_kind = $1, reference_id = $2, error = $3, cause = $4
WHERE kind = 'waiting' AND number = $5 AND resolution IS NULL;

-- waiting_state --
-- How many dead letters wait, and the newest of them.
SELECT count(*), coalesce(max(number), 0) FROM dead_letters
WHERE kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL;

-- awaited_references --
-- The references under which something waits.
SELECT wanted.kind, wanted.id FROM unnest($1::text[], $2::text[]) AS wanted (kind, id)
WHERE EXISTS (
    SELECT FROM dead_letters
    WHERE dead_letters.kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL
        AND reference_kind = wanted.kind AND reference_id = wanted.id
);

-- dead_letter_causes --
-- The causes of dead letters, open or resolved, each found after the one before it; how many there are, up to a number; the newest.
WITH RECURSIVE causes (cause) AS (
    SELECT min(cause) FROM dead_letters WHERE (resolution IS NOT NULL) = $4::boolean
    UNION ALL
    SELECT (SELECT min(cause) FROM dead_letters AS each WHERE (resolution IS NOT NULL) = $4::boolean AND each.cause > causes.cause)
    FROM causes
    WHERE causes.cause IS NOT NULL
)

SELECT
    causes.cause, counted.letters, to_char(oldest.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    to_char(newest.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    newest.kind, newest.number, newest.domain, newest.originator_id, left(newest.error, $3::integer)
FROM (SELECT cause FROM causes WHERE cause IS NOT NULL LIMIT $1) AS causes
CROSS JOIN LATERAL (
    SELECT count(*) AS letters FROM (
        SELECT FROM dead_letters AS each WHERE (resolution IS NOT NULL) = $4::boolean AND each.cause = causes.cause LIMIT $2
    ) AS listed
) AS counted
CROSS JOIN LATERAL (
    SELECT recorded_at FROM dead_letters AS each WHERE (resolution IS NOT NULL) = $4::boolean AND each.cause = causes.cause
    ORDER BY recorded_at, kind, number LIMIT 1
) AS oldest
CROSS JOIN LATERAL (
    SELECT kind, number, domain, originator_id, error, recorded_at FROM dead_letters AS each
    WHERE (resolution IS NOT NULL) = $4::boolean AND each.cause = causes.cause
    ORDER BY recorded_at DESC, kind DESC, number DESC LIMIT 1
) AS newest
ORDER BY causes.cause;

-- cause_history --
-- How many open dead letters of a cause were added since a moment, by ten minutes, up to a number.
SELECT left(to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI'), 15) AS minutes, count(*)
FROM (
    SELECT recorded_at FROM dead_letters
    WHERE (resolution IS NOT NULL) = $4::boolean AND cause = $1 AND recorded_at >= $2::text::timestamptz
    ORDER BY recorded_at DESC
    LIMIT $3
) AS listed
GROUP BY minutes
ORDER BY minutes;

-- without_cause --
-- Open dead letters that have no cause yet.
SELECT kind, number, domain, originator_id, left(error, $1::integer) FROM dead_letters
WHERE (resolution IS NOT NULL) = $3::boolean AND cause = ''
LIMIT $2;

-- assign_causes --
-- Stores the causes of dead letters.
UPDATE dead_letters SET cause = given.cause
FROM unnest($1::text[], $2::bigint[]) AS given (cause, number)
WHERE dead_letters.number = given.number AND dead_letters.cause = '';
