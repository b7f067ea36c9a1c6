"""Tests of `engine/reading/`."""
