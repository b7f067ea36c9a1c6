"""Tests of `engine/stores/`."""
