"""Tests of `engine/plans/`."""
