"""Tests of `engine/kpis/`."""
