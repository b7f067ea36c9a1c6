-- Who was given access, by the SHA-256 of a secret that is kept nowhere. They stand beside the log, because they can not
-- be folded again from it.
CREATE TABLE tokens (
    name TEXT PRIMARY KEY NOT NULL,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    source TEXT,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT
) STRICT;
