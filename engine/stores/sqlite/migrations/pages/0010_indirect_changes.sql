-- SKUs whose sections a domain has changed without an event of theirs, as a JSON array. `number` counts the domain's SKUs up to
-- the last one of the row; `mark` is random, so that a follower knows these rows from those of other pages.
CREATE TABLE indirect_changes (
    domain TEXT NOT NULL,
    number INTEGER NOT NULL,
    mark TEXT NOT NULL,
    skus TEXT NOT NULL,
    PRIMARY KEY (domain, number)
) STRICT;
