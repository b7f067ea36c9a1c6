"""Tests of `engine/sagas/`."""
