-- heads_as_of_each --
-- As `heads_as_of`, where each stream has a position of its own, and a number that is returned first.
SELECT wanted.number, head.notification_id, head.originator_id, head.originator_version, head.revision, head.topic,
       CASE WHEN octet_length(head.state) <= $4 THEN head.state END
FROM unnest($1::text[], $2::bigint[], $3::integer[]) AS wanted (originator_id, as_of, number)
CROSS JOIN LATERAL (
    SELECT * FROM stored_events
    WHERE stored_events.originator_id = wanted.originator_id AND notification_id + 0 <= wanted.as_of
    ORDER BY originator_version DESC, revision DESC
    LIMIT 1
) AS head;
