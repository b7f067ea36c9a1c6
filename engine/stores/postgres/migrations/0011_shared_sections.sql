-- One row a SKU and domain, which has each distinct content of its channels' sections once: channels mostly share them.
-- What the columns say stands in `engine/stores/section_rows.py`. No index but the key, and room in every block: an update
-- stays where it is.
DROP FUNCTION page(text, text);

ALTER TABLE sections RENAME TO sections_by_channel;
ALTER INDEX sections_pkey RENAME TO sections_by_channel_pkey;

CREATE TABLE sections (
    sku text COLLATE "C" NOT NULL,
    domain text COLLATE "C" NOT NULL,
    channels text COLLATE "C" NOT NULL,
    flags text COLLATE "C" NOT NULL,
    layout text COLLATE "C" NOT NULL,
    contents bytea NOT NULL,
    PRIMARY KEY (sku, domain)
) WITH (fillfactor = 85);

-- As they are: a content for each channel. Consumers fold all pages again, and share the contents then.
INSERT INTO sections (sku, domain, channels, flags, layout, contents)
SELECT
    sku,
    domain,
    '{' || string_agg(to_json(channel) || ':' || place, ',' ORDER BY channel) || '}',
    string_agg((enabled::integer + 2 * ready::integer)::text, '' ORDER BY channel),
    json_agg(
        json_build_array(start, octet_length(versions), octet_length(body), occurred_at, recorded_at) ORDER BY channel
    ),
    string_agg(versions || coalesce(body, ''), '' ORDER BY channel)
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
) AS section
GROUP BY sku, domain;

-- Whoever may read the sections still may.
DO $$
DECLARE
    reader record;
BEGIN
    FOR reader IN
        SELECT DISTINCT CASE privilege.grantee WHEN 0 THEN 'PUBLIC' ELSE privilege.grantee::regrole::text END AS name
        FROM pg_class, aclexplode(pg_class.relacl) AS privilege
        WHERE pg_class.oid = 'sections_by_channel'::regclass
            AND privilege.privilege_type = 'SELECT' AND privilege.grantee <> pg_class.relowner
    LOOP
        EXECUTE format('GRANT SELECT ON sections TO %s', reader.name);
    END LOOP;
END;
$$;

DROP TABLE sections_by_channel;

UPDATE checkpoints SET fingerprint = '' WHERE fingerprint IS NOT NULL;

-- The document is as before.
CREATE FUNCTION page(sku text, channel text) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT (
        '{"sku":' || to_json(normalize(page.sku, NFC))
        || ',"channel":' || to_json(layouts.channel)
        || ',"status":"live","ready":' || spliced.ready
        || ',"readiness":{' || spliced.readiness
        || '},"sourceVersions":' || spliced.versions
        || ',"updatedAt":"' || spliced.occurred_at
        || '",' || spliced.bodies || '}'
    )::json
    FROM layouts
    CROSS JOIN LATERAL (
        SELECT
            max(section.occurred_at) AS occurred_at,
            bool_and(section.enabled) FILTER (WHERE part.domain = layouts.identity) AS live,
            bool_and(coalesce(section.ready, false)) FILTER (
                WHERE part.domain = layouts.identity OR part.domain = ANY (layouts.requires)
            ) AS ready,
            string_agg(to_json(part.domain) || ':' || coalesce(section.ready, false), ',' ORDER BY part.place) AS readiness,
            replace(string_agg(convert_from(section.versions, 'UTF8'), '' ORDER BY part.place), '}{', ',') AS versions,
            string_agg(
                to_json(part.domain) || ':' || coalesce(convert_from(section.body, 'UTF8'), 'null'),
                ',' ORDER BY part.place
            ) AS bodies
        FROM unnest(layouts.domains) WITH ORDINALITY AS part (domain, place)
        LEFT JOIN LATERAL (
            SELECT
                content.flags & 1 <> 0 AS enabled,
                content.flags & 2 <> 0 AS ready,
                substr(content.contents, content.start + 1, content.size) AS versions,
                substr(content.contents, content.start + content.size + 1, content.length) AS body,
                content.occurred_at
            FROM (
                SELECT
                    substr(row_of.flags, row_of.index + 1, 1)::integer AS flags,
                    row_of.contents,
                    (row_of.layout::json -> row_of.index ->> 0)::integer AS start,
                    (row_of.layout::json -> row_of.index ->> 1)::integer AS size,
                    (row_of.layout::json -> row_of.index ->> 2)::integer AS length,
                    row_of.layout::json -> row_of.index ->> 3 AS occurred_at
                FROM (
                    SELECT *, (sections.channels::json ->> layouts.channel)::integer AS index
                    FROM sections
                    WHERE sections.sku = normalize(page.sku, NFC) AND sections.domain = part.domain
                ) AS row_of
                WHERE row_of.index IS NOT NULL
            ) AS content
        ) AS section ON true
    ) AS spliced
    WHERE layouts.channel = page.channel AND spliced.occurred_at IS NOT NULL AND spliced.live IS NOT FALSE;
END;
