"""Tests of `engine/consumers/`."""
