"""Contracts: what the records of a source say, in one language for every way in. Pure, but for reading files.

What a value becomes is decided in `pagefold.projections.transforms`. Who reads the records of a source, and who appends
what they say, is not decided here.
"""
