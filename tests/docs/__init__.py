"""Tests of the documentation: its commands are run, its links followed, its tables compared with the code."""
