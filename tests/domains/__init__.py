"""Tests of `domains/`."""
