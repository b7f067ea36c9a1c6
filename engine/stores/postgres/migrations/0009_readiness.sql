-- A page is ready when every domain that its channel requires is, and the one that gives it its identity, whatever the
-- channel requires. Otherwise the document is as before.
CREATE OR REPLACE FUNCTION page(sku text, channel text) RETURNS json
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
        LEFT JOIN sections AS section
            ON section.sku = normalize(page.sku, NFC)
            AND section.channel = layouts.channel AND section.domain = part.domain
    ) AS spliced
    WHERE layouts.channel = page.channel AND spliced.occurred_at IS NOT NULL AND spliced.live IS NOT FALSE;
END;
