"""A shop's own code: transforms that are found by entry point, and checked before they are used."""
