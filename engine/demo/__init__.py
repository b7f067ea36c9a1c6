"""A whole shop to watch: its catalog, a day of changes, a delivery full of faults, and what must come of it all."""
