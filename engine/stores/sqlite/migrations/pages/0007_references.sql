-- The ids under which other systems know SKUs, as the heads of streams state them. `sku` is the stream's, by name.
CREATE TABLE known_references (
    stream TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    sku TEXT NOT NULL,
    PRIMARY KEY (stream, kind, id)
) STRICT;

-- The SKUs of an id.
CREATE INDEX known_references_by_id ON known_references (kind, id, sku, stream);

-- Whether a domain's heads have stated any so far: a shop without them need not look.
ALTER TABLE checkpoints ADD COLUMN has_references INTEGER NOT NULL DEFAULT 0;
