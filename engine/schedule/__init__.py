"""Runs the tasks of `[schedule]` at their times. What they do is in the folders that it imports."""
