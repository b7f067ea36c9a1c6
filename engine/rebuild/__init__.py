"""Rebuild: what a source's snapshot says, compared with the log and mended in it, in runs that the log records."""
