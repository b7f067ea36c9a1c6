"""Tests of `engine/runtime/`."""
