"""Rebuild: compares a source's snapshot with the log and repairs the log, in runs that the log records."""
