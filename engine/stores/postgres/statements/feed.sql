-- note_changes --
-- Adds some SKUs to the indirect changes of a domain.
INSERT INTO indirect_changes (domain, number, mark, skus)
VALUES ($1, cardinality($3::text[]) + coalesce((SELECT max(number) FROM indirect_changes WHERE domain = $1), 0), $2, $3);

-- forget_changes --
-- Removes the indirect changes of a domain but those of about so many SKUs, and the newest.
DELETE FROM indirect_changes
WHERE domain = $1 AND number < (SELECT max(number) FROM indirect_changes WHERE domain = $1) - $2::bigint;

-- folded_state --
-- The position of each domain's checkpoint, and its newest indirect change.
SELECT checkpoints.domain, checkpoints.position, noted.number, noted.mark
FROM checkpoints
LEFT JOIN LATERAL (
    SELECT number, mark FROM indirect_changes
    WHERE indirect_changes.domain = checkpoints.domain
    ORDER BY number DESC
    LIMIT 1
) AS noted ON true;

-- indirect_changes --
-- The next indirect changes of a domain.
SELECT number, mark, skus FROM indirect_changes
WHERE domain = $1 AND number >= $2
ORDER BY number
LIMIT $3;

-- log_window --
-- The streams of some domains in the next events between two positions, the number of all events there, and the last position.
WITH next_events AS (
    SELECT notification_id, originator_id, topic FROM stored_events
    WHERE notification_id > $2 AND notification_id <= $3
    ORDER BY notification_id
    LIMIT $4
)
SELECT coalesce(array_agg(DISTINCT originator_id) FILTER (WHERE topic = ANY ($1::text[])), '{}'),
       count(*), max(notification_id)
FROM next_events;
