-- SKUs whose sections a domain has changed without an event of theirs. `number` counts the domain's SKUs up to the last one of
-- the row; `mark` is random, so that a follower knows these rows from those of other pages.
CREATE TABLE indirect_changes (
    domain text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    mark text COLLATE "C" NOT NULL,
    skus text[] COLLATE "C" NOT NULL,
    PRIMARY KEY (domain, number)
);
