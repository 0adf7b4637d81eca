"""Networks that restore, the registry of their names, and the files they are kept in."""
