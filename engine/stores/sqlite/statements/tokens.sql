-- add_token --
-- Adds a token; a no-op if its digest exists.
INSERT INTO tokens (name, digest, label, scopes, source, created_at, expires_at, revoked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (digest) DO NOTHING;

-- token_of --
-- The token with a digest.
SELECT name, label, scopes, source, created_at, expires_at, revoked_at FROM tokens WHERE digest = ?;

-- next_tokens --
-- The next tokens after one of them, in the order of creation.
SELECT name, label, scopes, source, created_at, expires_at, revoked_at FROM tokens
WHERE (created_at, name) > (?, ?)
ORDER BY created_at, name
LIMIT ?;

-- revoke_token --
-- Revokes a token, unless it is revoked, and returns its name if it exists.
UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE name = ? RETURNING name;
