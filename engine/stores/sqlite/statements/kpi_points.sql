-- record_values --
-- Stores values of minutes, one a call.
INSERT INTO kpi_points (name, label, minute, value) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (name, label, minute) DO UPDATE SET value = excluded.value;

-- add_counts --
-- Adds to counts of minutes, likewise.
INSERT INTO kpi_points (name, label, minute, value) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (name, label, minute) DO UPDATE SET value = kpi_points.value + excluded.value;

-- kpi_history --
-- The points of a label.
SELECT name, label, minute, value FROM kpi_points WHERE name = ?1 AND label = ?2 AND minute >= ?3 ORDER BY minute;

-- newest_kpi_points --
-- The newest point of each label. The value is that of the row with the maximum.
SELECT name, label, max(minute), value FROM kpi_points WHERE name IN carray(?1) AND minute <= ?2
GROUP BY name, label ORDER BY name, label;

-- kpi_spans --
-- The points of each label, in sum.
SELECT name, label, count(*), min(value), max(value), sum(value) FROM kpi_points
WHERE name IN carray(?1) AND minute >= ?2
GROUP BY name, label ORDER BY name, label;

-- forget_kpi_points --
-- Removes old points. Those of some names are kept longer.
DELETE FROM kpi_points WHERE minute < ?1 AND (minute < ?3 OR name NOT IN carray(?2));
