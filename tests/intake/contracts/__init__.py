"""Tests of `engine/intake/contracts/`."""
