-- Who was given access, by the SHA-256 of a secret that is kept nowhere. The moments are fixed-width UTC text, which
-- sorts as they do.
CREATE TABLE tokens (
    name text COLLATE "C" PRIMARY KEY,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    label text NOT NULL,
    scopes text COLLATE "C" NOT NULL,
    source text COLLATE "C",
    created_at text COLLATE "C" NOT NULL,
    expires_at text COLLATE "C",
    revoked_at text COLLATE "C"
);
