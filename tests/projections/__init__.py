"""Tests of `projections/`."""
