"""Tests of `engine/rebuild/`."""
