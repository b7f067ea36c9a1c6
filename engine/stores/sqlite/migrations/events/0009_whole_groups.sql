-- At which version each source last said what all of a group is. What it says later of an older version is older than that.
CREATE TABLE whole_groups (
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    occurred_at TEXT NOT NULL,
    settled INTEGER NOT NULL,
    PRIMARY KEY (source, kind, id)
) STRICT;
