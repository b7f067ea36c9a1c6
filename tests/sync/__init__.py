"""Tests of `engine/sync/`."""
