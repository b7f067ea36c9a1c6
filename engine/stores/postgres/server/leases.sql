-- try_lease --
-- Takes the lock of a domain until this connection ends; false if another connection has it.
SELECT pg_try_advisory_lock(hashtext(current_schema()), hashtext($1));

-- try_claim --
-- Takes the lock of a task until this connection ends; false if another connection has it. Its key is a single number,
-- as that of no domain is.
SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '/' || $1, 2));

-- end_frozen_holder --
-- Ends the connection that has the lock of a domain when the server has waited for its client for too many seconds.
SELECT pg_locks.pid, pg_terminate_backend(pg_locks.pid)
FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
WHERE pg_locks.locktype = 'advisory' AND pg_locks.granted AND pg_locks.objsubid = 2
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pg_locks.classid = hashtext(current_schema())::oid AND pg_locks.objid = hashtext($1)::oid
    AND activity.wait_event_type = 'Client'
    AND activity.state_change < clock_timestamp() - make_interval(secs => $2);

-- breathe --
-- Shows the server that the client of this connection lives.
SELECT 1;
