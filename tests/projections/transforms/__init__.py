"""Tests of the transforms of contracts."""
