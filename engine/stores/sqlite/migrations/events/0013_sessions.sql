-- Sessions of the dashboard, by the SHA-256 of a secret that only a browser has. They are beside the tokens that they
-- were begun with.
CREATE TABLE sessions (
    digest BLOB PRIMARY KEY NOT NULL CHECK (length(digest) = 32),
    token_digest BLOB NOT NULL CHECK (length(token_digest) = 32),
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;

CREATE INDEX sessions_of_tokens ON sessions (token_digest, created_at);

CREATE INDEX sessions_by_end ON sessions (expires_at);
