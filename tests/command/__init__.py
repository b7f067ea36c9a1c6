"""Tests of `engine/command/`."""
