-- Beside the position of a checkpoint stand the mark of the event there and the identity of the log: they prove that the
-- log is the one that was folded.
ALTER TABLE checkpoints ADD COLUMN mark BLOB;
ALTER TABLE checkpoints ADD COLUMN log_id TEXT;

-- Whether a recovery is under way, and up to where everything must be folded before a page that is not here is none.
CREATE TABLE recovery (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    under_way INTEGER NOT NULL DEFAULT 0,
    needed INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO recovery (one) VALUES (1);
