-- keep_dead_letter --
-- Adds an event to the dead letters. An existing one gets the new reason, is reopened unless an operator resolved it, and
-- gets its body back if that was removed.
INSERT INTO dead_letters
    (kind, domain, originator_id, originator_version, revision, digest, error, state, recorded_at, headers, via,
    reference_kind, reference_id, cause)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (originator_id, originator_version, revision, digest) DO UPDATE SET
    error = excluded.error, cause = excluded.cause,
    recorded_at = iif(
        dead_letters.resolution IS NULL AND dead_letters.purged_at IS NULL, dead_letters.recorded_at, excluded.recorded_at
    ),
    state = iif(dead_letters.purged_at IS NULL, dead_letters.state, excluded.state),
    headers = iif(dead_letters.purged_at IS NULL, dead_letters.headers, excluded.headers),
    reference_kind = excluded.reference_kind, reference_id = excluded.reference_id,
    purged_at = NULL, purged_by = NULL,
    resolution = NULL, resolved_at = NULL, resolved_by = NULL, reason = NULL, position = NULL
WHERE dead_letters.resolution IS NULL OR dead_letters.resolution NOT IN ('corrected', 'discarded');

-- newest_dead_letters --
-- The next dead letters after a key, open or resolved, newest first, without bodies. A stream ends in its source.
SELECT kind, number, domain, originator_id, originator_version, revision, substr(error, 1, :longest), recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by, cause
FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND recorded_at <= :recorded_at AND (:kind IS NULL OR kind = :kind)
    AND (recorded_at, kind, number) < (:recorded_at, :after_kind, :number)
    AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source)
ORDER BY recorded_at DESC, kind DESC, number DESC
LIMIT :limit;

-- newest_dead_letters_of_cause --
-- The next dead letters of a cause after a key, open or resolved, newest first, likewise.
SELECT kind, number, domain, originator_id, originator_version, revision, substr(error, 1, :longest), recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by, cause
FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND cause = :cause AND recorded_at <= :recorded_at
    AND (:kind IS NULL OR kind = :kind)
    AND (recorded_at, kind, number) < (:recorded_at, :after_kind, :number)
    AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source)
ORDER BY recorded_at DESC, kind DESC, number DESC
LIMIT :limit;

-- oldest_dead_letters --
-- The next dead letters after a key, open or resolved, oldest first, likewise.
SELECT kind, number, domain, originator_id, originator_version, revision, substr(error, 1, :longest), recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by, cause
FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND recorded_at >= :recorded_at AND (:kind IS NULL OR kind = :kind)
    AND (recorded_at, kind, number) > (:recorded_at, :after_kind, :number)
    AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source)
ORDER BY recorded_at, kind, number
LIMIT :limit;

-- oldest_dead_letters_of_cause --
-- The next dead letters of a cause after a key, open or resolved, oldest first, likewise.
SELECT kind, number, domain, originator_id, originator_version, revision, substr(error, 1, :longest), recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by, cause
FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND cause = :cause AND recorded_at >= :recorded_at
    AND (:kind IS NULL OR kind = :kind)
    AND (recorded_at, kind, number) > (:recorded_at, :after_kind, :number)
    AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source)
ORDER BY recorded_at, kind, number
LIMIT :limit;

-- get_dead_letter --
-- One complete dead letter.
SELECT kind, number, domain, originator_id, originator_version, revision, error, recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by, cause, state, headers
FROM dead_letters
WHERE kind = ? AND number = ?;

-- resolve_dead_letter --
-- Resolves one dead letter that no operator has resolved.
UPDATE dead_letters SET resolution = ?, resolved_at = ?, resolved_by = ?, reason = ?, position = ?
WHERE kind = ? AND number = ? AND (resolution IS NULL OR resolution NOT IN ('corrected', 'discarded'))
RETURNING number;

-- resolve_open --
-- Resolves those of some dead letters that are open.
UPDATE dead_letters SET resolution = ?, resolved_at = ?, resolved_by = ?, reason = ?, position = ?
WHERE number IN carray(?) AND resolution IS NULL
RETURNING kind, number;

-- count_letters --
-- The number of dead letters, of one kind, domain and source or of all, open or resolved.
SELECT count(*) FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND (:kind IS NULL OR kind = :kind) AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source);

-- count_open_letters --
-- The number of open dead letters of a kind and a domain, of one source or of all.
SELECT count(*) FROM dead_letters
WHERE resolution IS NULL AND kind = :kind AND domain = :domain
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source);

-- count_letters_of_cause --
-- The number of dead letters of a cause, likewise.
SELECT count(*) FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND cause = :cause AND (:kind IS NULL OR kind = :kind)
    AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source);

-- count_dead_letters --
-- The number of open dead letters of each domain, by kind.
SELECT kind, domain, count(*) FROM dead_letters WHERE resolution IS NULL GROUP BY kind, domain;

-- count_recent_letters --
-- How many dead letters of each kind were added since a time, requests apart; open and resolved ones each up to a limit.
SELECT iif(domain = '' AND kind = 'ingest', 'request', kind), count(*)
FROM (
    SELECT kind, domain FROM (
        SELECT kind, domain FROM dead_letters WHERE (resolution IS NOT NULL) = 0 AND recorded_at >= ?1 LIMIT ?2
    )
    UNION ALL
    SELECT kind, domain FROM (
        SELECT kind, domain FROM dead_letters WHERE (resolution IS NOT NULL) = 1 AND recorded_at >= ?1 LIMIT ?2
    )
)
GROUP BY 1;

-- has_dead_letters --
-- Whether a domain has any open dead letter that could not be folded.
SELECT EXISTS (SELECT 1 FROM dead_letters WHERE kind = 'projection' AND domain = ? AND resolution IS NULL);

-- resolve_dead_letters --
-- Resolves the open dead letters of some streams.
UPDATE dead_letters SET resolution = ?, resolved_at = ?, resolved_by = ?, reason = ?, position = ?
WHERE originator_id IN carray(?) AND resolution IS NULL;

-- requests_of --
-- The versions of some streams at which there are open requests that could not be turned into events.
SELECT originator_id, originator_version FROM dead_letters
WHERE kind = 'ingest' AND domain = '' AND originator_id IN carray(?) AND resolution IS NULL;

-- dead_letters_of_sku --
-- The open dead letters of the streams of a SKU in some domains, the newest first, without bodies.
SELECT kind, number, domain, originator_id, originator_version, revision, substr(error, 1, :longest), recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by, cause
FROM dead_letters
WHERE resolution IS NULL AND kind IN ('ingest', 'projection', 'waiting')
    AND domain IN (SELECT value FROM json_each(:domains))
    AND originator_id >= :sku || '/' AND originator_id < :sku || '0'
ORDER BY recorded_at DESC, kind DESC, number DESC
LIMIT :limit;

-- purge_dead_letters --
-- Removes the bodies of the oldest expired dead letters, requests or of a kind, open or resolved, up to a number or a size.
UPDATE dead_letters SET error = ?, purged_at = ?, purged_by = ?, state = x'', headers = x'7b7d'
WHERE number IN (
    SELECT number
    FROM (
        SELECT number, sum(size) OVER (ORDER BY since, number) - size AS before
        FROM (
            SELECT number, coalesce(resolved_at, recorded_at) AS since, length(state) AS size
            FROM dead_letters
            WHERE purged_at IS NULL AND iif(domain = '', 'request', kind) = ? AND (resolution IS NOT NULL) = ?
                AND coalesce(resolved_at, recorded_at) < ?
            ORDER BY coalesce(resolved_at, recorded_at)
            LIMIT ?
        )
    )
    WHERE before < ?
)
RETURNING number;

-- purge_dead_letter --
-- Removes the body of one dead letter.
UPDATE dead_letters SET error = ?, purged_at = ?, purged_by = ?, state = x'', headers = x'7b7d'
WHERE kind = ? AND number = ? AND purged_at IS NULL
RETURNING number;

-- count_expired --
-- The number of expired dead letters, likewise.
SELECT count(*) FROM dead_letters
WHERE purged_at IS NULL AND iif(domain = '', 'request', kind) = ? AND (resolution IS NOT NULL) = ?
    AND coalesce(resolved_at, recorded_at) < ?;

-- count_purged --
-- The number of open dead letters of a kind without a body.
SELECT count(*) FROM dead_letters WHERE resolution IS NULL AND purged_at IS NOT NULL AND kind = ?;

-- waiting_dead_letters --
-- The next open dead letters that wait, in the order in which they are taken.
SELECT reference_kind, reference_id, originator_version, number FROM dead_letters
WHERE kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL
    AND (reference_kind, reference_id, originator_version, number) > (?, ?, ?, ?)
ORDER BY reference_kind, reference_id, originator_version, number
LIMIT ?;

-- wait_for_reference --
-- Lets a dead letter wait for another reference.
UPDATE dead_letters SET reference_kind = ?, reference_id = ?, error = ?, cause = ?
WHERE kind = 'waiting' AND number = ? AND resolution IS NULL;

-- waiting_state --
-- How many dead letters wait, and the newest of them.
SELECT count(*), coalesce(max(number), 0) FROM dead_letters
WHERE kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL;

-- awaited_references --
-- The references, of an array of pairs, under which something waits.
SELECT wanted.value ->> 0, wanted.value ->> 1 FROM json_each(?) AS wanted
WHERE EXISTS (
    SELECT 1 FROM dead_letters
    WHERE kind = 'waiting' AND resolution IS NULL AND purged_at IS NULL
        AND reference_kind = wanted.value ->> 0 AND reference_id = wanted.value ->> 1
);

-- dead_letter_causes --
-- The causes of open dead letters, each found after the one before it; how many there are, up to a number; the newest.
WITH RECURSIVE causes (cause) AS (
    SELECT min(cause) FROM dead_letters WHERE (resolution IS NOT NULL) = 0
    UNION ALL
    SELECT (SELECT min(cause) FROM dead_letters WHERE (resolution IS NOT NULL) = 0 AND cause > causes.cause)
    FROM causes
    WHERE causes.cause IS NOT NULL
    LIMIT :limit + 1
),

found AS (
    SELECT
        cause,
        (SELECT count(*) FROM (
            SELECT 1 FROM dead_letters AS each WHERE (resolution IS NOT NULL) = 0 AND each.cause = causes.cause LIMIT :counted
        )) AS letters,
        (
            SELECT min(recorded_at) FROM dead_letters AS each
            WHERE (resolution IS NOT NULL) = 0 AND each.cause = causes.cause
        ) AS first,
        (
            SELECT number FROM dead_letters AS each WHERE (resolution IS NOT NULL) = 0 AND each.cause = causes.cause
            ORDER BY recorded_at DESC, kind DESC, number DESC LIMIT 1
        ) AS newest
    FROM causes
    WHERE cause IS NOT NULL
    LIMIT :limit
)

SELECT found.cause, letters, first, recorded_at, kind, number, domain, originator_id, substr(error, 1, :longest)
FROM found JOIN dead_letters ON number = newest
ORDER BY found.cause;

-- cause_history --
-- How many open dead letters of a cause were added since a moment, by ten minutes, up to a number.
SELECT substr(recorded_at, 1, 15), count(*)
FROM (
    SELECT recorded_at FROM dead_letters
    WHERE (resolution IS NOT NULL) = 0 AND cause = :cause AND recorded_at >= :since
    ORDER BY recorded_at DESC
    LIMIT :counted
)
GROUP BY 1
ORDER BY 1;

-- without_cause --
-- Open dead letters that have no cause yet.
SELECT kind, number, domain, originator_id, substr(error, 1, ?) FROM dead_letters
WHERE (resolution IS NOT NULL) = 0 AND cause = ''
LIMIT ?;

-- assign_causes --
-- Stores the cause of a dead letter.
UPDATE dead_letters SET cause = ? WHERE number = ? AND cause = '';
