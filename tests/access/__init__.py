"""Tests of `engine/access/`."""
