"""The configuration file, as checked values. `config_tables.py` has its tables, `config.py` what follows from them."""
