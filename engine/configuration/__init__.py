"""The configuration file, as checked values. `config.py` has the complete one, other modules its larger tables."""
