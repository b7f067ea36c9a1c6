"""Tests of the whole product during failures."""
