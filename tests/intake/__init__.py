"""Tests of `engine/intake/`."""
