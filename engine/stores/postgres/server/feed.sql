-- log_end_proof --
-- The identity of the log, the position and the mark of its newest event, and the mark of the event at a position.
SELECT (SELECT log_id FROM log_identity WHERE one), coalesce(newest.notification_id, 0), newest.mark, (
    SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
    FROM stored_events AS event WHERE event.notification_id = $1
)
FROM (VALUES (1)) AS one_row
LEFT JOIN (
    SELECT notification_id, event_mark(originator_id, originator_version, revision, topic, state) AS mark
    FROM stored_events ORDER BY notification_id DESC LIMIT 1
) AS newest ON true;
