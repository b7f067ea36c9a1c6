-- record_values --
-- Stores values of minutes. In order: else two processes could deadlock.
INSERT INTO kpi_points (name, label, minute, value)
SELECT name, label, minute, value
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::double precision[]) AS given (name, label, minute, value)
ORDER BY name, label, minute
ON CONFLICT (name, label, minute) DO UPDATE SET value = excluded.value;

-- add_counts --
-- Adds to counts of minutes, likewise.
INSERT INTO kpi_points (name, label, minute, value)
SELECT name, label, minute, value
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::double precision[]) AS given (name, label, minute, value)
ORDER BY name, label, minute
ON CONFLICT (name, label, minute) DO UPDATE SET value = kpi_points.value + excluded.value;

-- kpi_history --
-- The points of a label.
SELECT name, label, minute, value FROM kpi_points WHERE name = $1 AND label = $2 AND minute >= $3 ORDER BY minute;

-- newest_kpi_points --
-- The newest point of each label.
SELECT DISTINCT ON (name, label) name, label, minute, value FROM kpi_points
WHERE name = ANY($1::text[]) AND minute <= $2
ORDER BY name, label, minute DESC;

-- kpi_spans --
-- The points of each label, in sum.
SELECT name, label, count(*), min(value), max(value), sum(value) FROM kpi_points
WHERE name = ANY($1::text[]) AND minute >= $2
GROUP BY name, label ORDER BY name, label;

-- forget_kpi_points --
-- Removes old points. Those of some names are kept longer.
DELETE FROM kpi_points WHERE minute < $1 AND (minute < $3 OR name <> ALL($2::text[]));
