"""What the TOML file says, as checked values. `config.py` is the whole, the other modules are its larger tables."""
