-- One row a SKU and domain, which has each distinct content of its channels' sections once: channels mostly share them.
-- What the columns say stands in `engine/stores/section_rows.py`. No index but the key.
ALTER TABLE sections RENAME TO sections_by_channel;

CREATE TABLE sections (
    sku TEXT NOT NULL,
    domain TEXT NOT NULL,
    channels TEXT NOT NULL,
    flags TEXT NOT NULL,
    layout TEXT NOT NULL,
    contents BLOB NOT NULL,
    PRIMARY KEY (sku, domain)
) STRICT;

-- As they are: a content for each channel. Consumers fold all pages again, and share the contents then.
INSERT INTO sections (sku, domain, channels, flags, layout, contents)
SELECT
    sku,
    domain,
    json_group_object(channel, place ORDER BY channel),
    group_concat(enabled + 2 * ready, '' ORDER BY channel),
    '[' || group_concat(
        json_array(start, octet_length(versions), octet_length(body), occurred_at, recorded_at), ',' ORDER BY channel
    ) || ']',
    CAST(group_concat(versions || coalesce(body, ''), '' ORDER BY channel) AS BLOB)
FROM (
    SELECT
        *,
        row_number() OVER by_channel - 1 AS place,
        coalesce(
            sum(octet_length(versions) + coalesce(octet_length(body), 0)) OVER (
                by_channel ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0
        ) AS start
    FROM sections_by_channel
    WINDOW by_channel AS (PARTITION BY sku, domain ORDER BY channel)
)
GROUP BY sku, domain;

DROP TABLE sections_by_channel;

UPDATE checkpoints SET fingerprint = '' WHERE fingerprint IS NOT NULL;
