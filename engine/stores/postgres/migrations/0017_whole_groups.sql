-- At which version each source last said what all of a group is. What it says later of an older version is older than that.
CREATE TABLE whole_groups (
    source text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    occurred_at text COLLATE "C" NOT NULL,
    settled boolean NOT NULL,
    PRIMARY KEY (source, kind, id)
);
