"""Tests of `engine/snapshots/`."""
