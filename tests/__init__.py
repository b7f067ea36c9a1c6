"""The tests of Pagefold, and their support."""
