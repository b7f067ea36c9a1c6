"""Streams folded into sections, inside one transaction. When that happens is for `consumers/` and `replay/`."""
