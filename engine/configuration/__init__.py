"""The tables of the configuration that take more words than their place in it: `engine/configuration/config.py` has the whole."""
