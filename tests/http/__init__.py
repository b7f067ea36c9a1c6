"""Tests of `engine/http/`."""
