"""Tests of `engine/recorders/`."""
