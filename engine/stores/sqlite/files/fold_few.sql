-- have_dead_letters --
-- Whether some streams of a domain have any open dead letter.
SELECT EXISTS (SELECT 1 FROM dead_letters WHERE domain = ? AND originator_id IN carray(?) AND resolution IS NULL);
