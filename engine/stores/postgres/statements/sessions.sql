-- add_session --
-- Adds a session.
INSERT INTO sessions (digest, token_digest, created_at, expires_at) VALUES ($1, $2, $3, $4);

-- session_of --
-- The session with a digest.
SELECT digest, token_digest, created_at, expires_at FROM sessions WHERE digest = $1;

-- remove_session --
-- Removes a session.
DELETE FROM sessions WHERE digest = $1;

-- remove_expired_sessions --
-- Removes the sessions that have expired by a time.
DELETE FROM sessions WHERE expires_at <= $1;

-- remove_oldest_sessions --
-- Removes all sessions of a token but the newest.
DELETE FROM sessions WHERE digest IN (
    SELECT digest FROM sessions WHERE token_digest = $1 ORDER BY created_at DESC, digest OFFSET $2
);
