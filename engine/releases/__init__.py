"""Releases: prepared statements that count nowhere until they are published, all at once."""
