-- Sessions of the dashboard, by the SHA-256 of a secret that only a browser has. They are beside the tokens that they
-- were begun with.
CREATE TABLE sessions (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    token_digest bytea NOT NULL CHECK (octet_length(token_digest) = 32),
    created_at text COLLATE "C" NOT NULL,
    expires_at text COLLATE "C" NOT NULL
);

CREATE INDEX sessions_of_tokens ON sessions (token_digest, created_at);

CREATE INDEX sessions_by_end ON sessions (expires_at);
