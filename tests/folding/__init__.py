"""Tests of `engine/folding/`."""
