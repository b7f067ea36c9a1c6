"""Folding streams into sections, inside one transaction. `consumers/` and `replay/` decide when."""
