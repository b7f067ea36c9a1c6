"""Tests of `engine/replay/`."""
