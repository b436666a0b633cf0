"""The commands, one module each. Only they and `cli.py` parse, print and exit."""
