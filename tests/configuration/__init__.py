"""Tests of `engine/configuration/`."""
