"""A simulation of the whole: one seed decides what happens, and in the end everything that must hold is checked.

`python -m tests.simulation --seed N` shows what happens with a seed.
"""
