-- Key figures by minute, counted since the epoch, for a day.
CREATE TABLE kpi_points (
    name text COLLATE "C" NOT NULL,
    label text COLLATE "C" NOT NULL,
    minute bigint NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (name, label, minute)
);

-- When a key figure was above its threshold. The moments are fixed-width UTC text.
CREATE TABLE alerts (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kpi text COLLATE "C" NOT NULL,
    label text COLLATE "C" NOT NULL,
    since text COLLATE "C" NOT NULL,
    reading bytea NOT NULL,
    below_since text COLLATE "C",
    resolved_at text COLLATE "C"
);

CREATE UNIQUE INDEX alerts_open ON alerts (kpi, label) WHERE resolved_at IS NULL;

-- What is to be sent to each target, and was sent.
CREATE TABLE alert_messages (
    alert bigint NOT NULL,
    target text COLLATE "C" NOT NULL,
    event text COLLATE "C" NOT NULL CHECK (event IN ('crossed', 'resolved')),
    reading bytea NOT NULL,
    due text COLLATE "C" NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    sent_at text COLLATE "C",
    error text,
    PRIMARY KEY (alert, target, event)
);

CREATE INDEX alert_messages_due ON alert_messages (due) WHERE sent_at IS NULL;
