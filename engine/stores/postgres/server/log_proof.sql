-- identity --
-- The identity of the log, where it ends, and whether its table is the one that it was written in.
SELECT log_id, (SELECT coalesce(max(notification_id), 0) FROM stored_events), written_in = 'stored_events'::regclass::oid
FROM log_identity;

-- adopt_table --
-- From now on the log is written in the table that there is.
UPDATE log_identity SET written_in = 'stored_events'::regclass::oid;

-- forget_unproved_applications --
-- Restarts the applications that followed the log up to an event that does not exist.
DELETE FROM tracking WHERE mark IS NOT NULL AND mark IS DISTINCT FROM (
    SELECT event_mark(event.originator_id, event.originator_version, event.revision, event.topic, event.state)
    FROM stored_events AS event WHERE event.notification_id = tracking.notification_id
);
