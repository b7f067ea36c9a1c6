"""Tests of `engine/monitoring/`."""
