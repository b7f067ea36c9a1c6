-- keep_plan --
-- Adds a plan; a no-op if it is there.
INSERT INTO plans
    (plan, planned_at, digest, number, position, changed, taken, made_by, state, decided_by, reason, decided_at, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT (plan) DO NOTHING;

-- forget_plans --
-- Removes all but the newest plans.
DELETE FROM plans WHERE plan IN (SELECT plan FROM plans ORDER BY planned_at DESC, plan DESC LIMIT -1 OFFSET ?1);

-- get_plan --
-- A plan with what it found.
SELECT plan, planned_at, digest, number, position, changed, taken, made_by, state, decided_by, reason, decided_at, body
FROM plans WHERE plan = ?1;

-- newest_plans --
-- The newest plans.
SELECT plan, planned_at, digest, number, position, changed, taken, made_by, state, decided_by, reason, decided_at
FROM plans ORDER BY planned_at DESC, plan DESC LIMIT ?1;

-- decide_plan --
-- Records a decision about an open plan.
UPDATE plans SET state = ?2, decided_by = ?3, reason = ?4, decided_at = ?5
WHERE plan = ?1 AND state = 'open' RETURNING plan;
