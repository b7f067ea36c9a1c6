"""Asks sources for what changed since the last time. How snapshots are read is in `pagefold.engine.snapshots`."""
