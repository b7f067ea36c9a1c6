"""Bugs that are planted in a copy of the source, one at a time, to see that the tests find them."""
