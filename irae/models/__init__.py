"""The networks, the registry of their names, and their files."""
