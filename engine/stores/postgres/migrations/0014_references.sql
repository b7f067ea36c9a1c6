-- The ids under which other systems know SKUs, as the heads of streams state them. `sku` is the stream's, by name.
CREATE TABLE known_references (
    stream text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    sku text COLLATE "C" NOT NULL,
    PRIMARY KEY (stream, kind, id)
);

-- The SKUs of an id.
CREATE INDEX known_references_by_id ON known_references (kind, id, sku, stream);

-- Whether a domain's heads have stated any so far: a shop without them need not look.
ALTER TABLE checkpoints ADD COLUMN has_references boolean NOT NULL DEFAULT false;
