"""The tests of Pagefold, and what they run on."""
