"""The commands: one module each parses, calls the library and prints; nothing else does."""
