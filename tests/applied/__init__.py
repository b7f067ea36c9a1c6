"""Tests of `engine/applied/`."""
