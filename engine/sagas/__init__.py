"""Targets that get each version of a page together, or not at all. How they are delivered to is in `delivery`."""
