"""The tables of the configuration that take more words than their place in it: `engine/config.py` has the whole."""
