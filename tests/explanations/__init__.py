"""Tests of `pagefold.engine.explanations`."""
