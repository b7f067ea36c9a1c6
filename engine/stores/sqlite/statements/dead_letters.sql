-- keep_letter --
-- Keeps an event in dead letters; one that is there already gets the new reason, and is open again unless it was decided. What it said
-- is put back if it was removed.
INSERT INTO dead_letters
    (domain, originator_id, originator_version, revision, digest, error, state, recorded_at, headers, via)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (originator_id, originator_version, revision, digest) DO UPDATE SET
    error = excluded.error,
    recorded_at = iif(
        dead_letters.resolution IS NULL AND dead_letters.purged_at IS NULL, dead_letters.recorded_at, excluded.recorded_at
    ),
    state = iif(dead_letters.purged_at IS NULL, dead_letters.state, excluded.state),
    headers = iif(dead_letters.purged_at IS NULL, dead_letters.headers, excluded.headers),
    purged_at = NULL, purged_by = NULL,
    resolution = NULL, resolved_at = NULL, resolved_by = NULL, reason = NULL, position = NULL
WHERE dead_letters.resolution IS NULL OR dead_letters.resolution NOT IN ('corrected', 'discarded');

-- newest_letters --
-- The next letters behind a place, open or resolved, the newest first. Without what they say. A stream ends in its source.
SELECT number, domain, originator_id, originator_version, revision, substr(error, 1, :longest), recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by
FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND recorded_at <= :recorded_at
    AND (recorded_at, :kind, number) < (:recorded_at, :after_kind, :number)
    AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source)
ORDER BY recorded_at DESC, number DESC
LIMIT :limit;

-- oldest_letters --
-- The next letters behind a place, open or resolved, the oldest first, likewise.
SELECT number, domain, originator_id, originator_version, revision, substr(error, 1, :longest), recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by
FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND recorded_at >= :recorded_at
    AND (recorded_at, :kind, number) > (:recorded_at, :after_kind, :number)
    AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source)
ORDER BY recorded_at, number
LIMIT :limit;

-- get_letter --
-- One dead letter, whole.
SELECT number, domain, originator_id, originator_version, revision, error, recorded_at,
       resolution, resolved_at, resolved_by, reason, position, via,
       purged_at, purged_by, state, headers
FROM dead_letters
WHERE number = ?;

-- resolve_letter --
-- Resolves one dead letter that no operator has decided.
UPDATE dead_letters SET resolution = ?, resolved_at = ?, resolved_by = ?, reason = ?, position = ?
WHERE number = ? AND (resolution IS NULL OR resolution NOT IN ('corrected', 'discarded'))
RETURNING number;

-- count_letters_of --
-- How many dead letters there are, of one domain and source or of all, open or resolved.
SELECT count(*) FROM dead_letters
WHERE (resolution IS NOT NULL) = :resolved AND (:domain IS NULL OR domain = :domain)
    AND (:source IS NULL OR substr(originator_id, -length(:source) - 1) = '/' || :source);

-- count_letters --
-- How many open dead letters each domain has.
SELECT domain, count(*) FROM dead_letters WHERE resolution IS NULL GROUP BY domain;

-- has_letters --
-- Whether a domain has any open dead letter.
SELECT EXISTS (SELECT 1 FROM dead_letters WHERE domain = ? AND resolution IS NULL);

-- resolve_letters --
-- Resolves the open dead letters of some streams.
UPDATE dead_letters SET resolution = ?, resolved_at = ?, resolved_by = ?, reason = ?, position = ?
WHERE originator_id IN carray(?) AND resolution IS NULL;

-- requests_of --
-- At which versions of some streams there are open requests of which no event could be made.
SELECT originator_id, originator_version FROM dead_letters
WHERE domain = '' AND originator_id IN carray(?) AND resolution IS NULL;

-- purge_letters --
-- Removes what the oldest letters say whose time is over: requests or events, open or resolved; so many of them, or until
-- that many bytes are reached.
UPDATE dead_letters SET error = ?, purged_at = ?, purged_by = ?, state = x'', headers = x'7b7d'
WHERE number IN (
    SELECT number
    FROM (
        SELECT number, sum(size) OVER (ORDER BY since, number) - size AS before
        FROM (
            SELECT number, coalesce(resolved_at, recorded_at) AS since, length(state) AS size
            FROM dead_letters
            WHERE purged_at IS NULL AND iif(domain = '', 'request', 'event') = ? AND (resolution IS NOT NULL) = ?
                AND coalesce(resolved_at, recorded_at) < ?
            ORDER BY coalesce(resolved_at, recorded_at)
            LIMIT ?
        )
    )
    WHERE before < ?
)
RETURNING number;

-- purge_letter --
-- Removes what one dead letter says.
UPDATE dead_letters SET error = ?, purged_at = ?, purged_by = ?, state = x'', headers = x'7b7d'
WHERE number = ? AND purged_at IS NULL
RETURNING number;

-- count_expired --
-- How many letters there are whose time is over, likewise.
SELECT count(*) FROM dead_letters
WHERE purged_at IS NULL AND iif(domain = '', 'request', 'event') = ? AND (resolution IS NOT NULL) = ?
    AND coalesce(resolved_at, recorded_at) < ?;

-- count_purged --
-- How many open letters no longer have what they said.
SELECT count(*) FROM dead_letters WHERE resolution IS NULL AND purged_at IS NOT NULL;
