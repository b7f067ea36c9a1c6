"""Tests of `engine/plugins/`."""
