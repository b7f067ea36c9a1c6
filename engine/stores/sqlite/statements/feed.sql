-- note_changes --
-- Adds some SKUs, as a JSON array of a known number, to the indirect changes of a domain.
INSERT INTO indirect_changes (domain, number, mark, skus)
VALUES (:domain, :count + coalesce((SELECT max(number) FROM indirect_changes WHERE domain = :domain), 0), :mark, :skus);

-- forget_changes --
-- Removes the indirect changes of a domain but those of about so many SKUs, and the newest.
DELETE FROM indirect_changes
WHERE domain = :domain AND number < (SELECT max(number) FROM indirect_changes WHERE domain = :domain) - :kept;

-- folded_state --
-- The position of each domain's checkpoint, and its newest indirect change.
SELECT checkpoints.domain, checkpoints.position, noted.number, noted.mark
FROM checkpoints
LEFT JOIN indirect_changes AS noted ON noted.domain = checkpoints.domain AND noted.number = (
    SELECT max(number) FROM indirect_changes WHERE indirect_changes.domain = checkpoints.domain
);

-- indirect_changes --
-- The next indirect changes of a domain.
SELECT number, mark, skus FROM indirect_changes
WHERE domain = ? AND number >= ?
ORDER BY number
LIMIT ?;

-- log_window --
-- The streams of some domains in the next events between two positions, the number of all events there, and the last position.
WITH next_events AS (
    SELECT notification_id, originator_id, topic FROM stored_events
    WHERE notification_id > :after AND notification_id <= :upto
    ORDER BY notification_id
    LIMIT :limit
)
SELECT json_group_array(DISTINCT originator_id) FILTER (WHERE topic IN (SELECT value FROM carray(:domains))),
       count(*), max(notification_id)
FROM next_events;
