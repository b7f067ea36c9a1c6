-- The identity of the log, made with it. A copy of the log has the same.
CREATE TABLE log_identity (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    log_id TEXT NOT NULL
) STRICT;

INSERT INTO log_identity (one, log_id) VALUES (1, lower(hex(randomblob(16))));

-- Beside the position of an application stands the mark of the event there.
ALTER TABLE tracking ADD COLUMN mark BLOB;
