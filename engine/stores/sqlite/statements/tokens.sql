-- add_token --
-- Keeps a token; one whose digest is there already changes nothing.
INSERT INTO tokens (name, digest, label, scopes, source, created_at, expires_at, revoked_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (digest) DO NOTHING;

-- token_of --
-- The token with a digest.
SELECT name, label, scopes, source, created_at, expires_at, revoked_at FROM tokens WHERE digest = ?;

-- next_tokens --
-- The next tokens behind one of them, in the order in which they were made.
SELECT name, label, scopes, source, created_at, expires_at, revoked_at FROM tokens
WHERE (created_at, name) > (?, ?)
ORDER BY created_at, name
LIMIT ?;

-- revoke_token --
-- Revokes a token, unless it is revoked, and gives its name when there is one of that name.
UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE name = ? RETURNING name;
