"""How networks are run when they only restore."""
