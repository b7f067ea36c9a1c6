-- add_token --
-- Keeps a token; one whose digest is there already changes nothing.
INSERT INTO tokens (name, digest, label, scopes, source, created_at, expires_at, revoked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (digest) DO NOTHING;

-- token_of --
-- The token with a digest.
SELECT name, label, scopes, source, created_at, expires_at, revoked_at FROM tokens WHERE digest = $1;

-- next_tokens --
-- The next tokens behind one of them, in the order in which they were made.
SELECT name, label, scopes, source, created_at, expires_at, revoked_at FROM tokens
WHERE (created_at, name) > ($1, $2)
ORDER BY created_at, name
LIMIT $3;

-- revoke_token --
-- Revokes a token, unless it is revoked, and gives its name when there is one of that name.
UPDATE tokens SET revoked_at = coalesce(revoked_at, $1) WHERE name = $2 RETURNING name;
