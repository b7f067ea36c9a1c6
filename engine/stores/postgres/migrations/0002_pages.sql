-- One row a domain of a page. No index but the key, and room in every block: an update stays where it is. The moments are
-- fixed-width UTC text, as a page shows them: for a reader to turn four timestamps into text costs a fifth of the read.
CREATE TABLE sections (
    sku text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    domain text COLLATE "C" NOT NULL,
    enabled boolean NOT NULL,
    ready boolean NOT NULL,
    versions bytea NOT NULL,
    body bytea,
    occurred_at text COLLATE "C" NOT NULL,
    recorded_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (sku, channel, domain)
) WITH (fillfactor = 85);

-- How far each domain has been folded, by whom, under which configuration, and what became of the events.
CREATE TABLE checkpoints (
    domain text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,
    applied bigint NOT NULL DEFAULT 0,
    stale bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    fingerprint text,
    holder text
) WITH (fillfactor = 50);

-- What `page` must know of the configuration: the order of the sections, and what a channel requires.
CREATE TABLE layouts (
    channel text COLLATE "C" PRIMARY KEY,
    domains text[] NOT NULL,
    identity text NOT NULL,
    requires text[] NOT NULL
);

-- The page as a storefront gets it, for one that reads with SQL: byte for byte the document that the library splices.
-- NULL when there is none, or none to show. A reader needs USAGE of the schema, and SELECT on `sections` and `layouts`.
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
            coalesce(
                bool_and(coalesce(section.ready, false)) FILTER (WHERE part.domain = ANY (layouts.requires)), true
            ) AS ready,
            string_agg(to_json(part.domain) || ':' || coalesce(section.ready, false), ',' ORDER BY part.place) AS readiness,
            replace(string_agg(convert_from(section.versions, 'UTF8'), '' ORDER BY part.place), '}{', ',') AS versions,
            string_agg(
                to_json(part.domain) || ':' || coalesce(convert_from(section.body, 'UTF8'), 'null'),
                ',' ORDER BY part.place
            ) AS bodies
        FROM unnest(layouts.domains) WITH ORDINALITY AS part (domain, place)
        LEFT JOIN sections AS section
            ON section.sku = normalize(page.sku, NFC)
            AND section.channel = layouts.channel AND section.domain = part.domain
    ) AS spliced
    WHERE layouts.channel = page.channel AND spliced.occurred_at IS NOT NULL AND spliced.live IS NOT FALSE;
END;
