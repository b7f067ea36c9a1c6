"""Replays every page from the log: verification, repair, recovery, and helper processes."""
