"""Tests of `engine/dead_letters/`."""
