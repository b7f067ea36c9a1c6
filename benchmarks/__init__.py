"""Measures Pagefold's speed as ratios to a baseline of its databases and to the `eventsourcing` library."""
